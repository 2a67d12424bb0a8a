"""A real nginx on loopback for the session, with one server for each kind of behaviour, all showing the same directory.

The listening sockets are made here and inherited by nginx: their ports are free for certain.
"""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

SERVERS = {
    "plain": "",
    "no_etag": "etag off;",
    # neither parts nor versions
    "bare": 'max_ranges 0; etag off; if_modified_since off; add_header Last-Modified "";',
    "no_parts": "max_ranges 0;",
    "no_head": "if ($request_method = HEAD) { return 405; }",
    "login": "auth_basic files; auth_basic_user_file {home}/users;",
    "redirect": "rewrite ^/(.*)$ {plain}/$1 redirect;",
    "circle": "rewrite ^/(.*)$ /$1x redirect;",
    "tls": "ssl_certificate {home}/cert.pem; ssl_certificate_key {home}/key.pem;",
    "tls_down": "ssl_certificate {home}/cert.pem; ssl_certificate_key {home}/key.pem; "
    "rewrite ^/(.*)$ {plain}/$1 redirect;",
}

_NO_SUCH_FILE = "/no-such-file"


@dataclass(frozen=True)
class Nginx:
    """The running server."""

    root: Path
    """What is shown."""
    urls: dict[str, str]
    """By the names of `SERVERS`, without a slash at the end."""
    certificate: Path
    """Self-signed, for 127.0.0.1 and files.invalid."""
    log: Path
    """Access log: server port, status, method, URI and range of each request."""

    def requests(self) -> list[str]:
        """Return the lines of the log, with all requests that have been answered.

        nginx writes a request's line when it has sent the answer, so whoever has it may look too early. Its only worker
        does one thing after the other: when it answers another question, the lines of those before are written.
        """
        port = int(self.urls["plain"].rpartition(":")[2])
        if not _answers(port, timeout_s=30):
            pytest.fail("nginx does not answer")
        return [line for line in self.log.read_text().splitlines() if _NO_SUCH_FILE not in line]


@pytest.fixture(scope="session")
def nginx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    """The server; files in `root` may be changed at any time."""
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        pytest.fail("nginx is missing: run scripts/setup")
    home = tmp_path_factory.mktemp("nginx")
    home.chmod(0o755)
    (home / "root").mkdir()
    (home / "users").write_text("me:{PLAIN}pass word\n")
    for_us = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1,DNS:files.invalid"]
    files = ["-keyout", home / "key.pem", "-out", home / "cert.pem"]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *for_us, *files],
        check=True,
        capture_output=True,
    )
    sockets = {name: socket.create_server(("127.0.0.1", 0), backlog=256) for name in SERVERS}
    ports = {name: listener.getsockname()[1] for name, listener in sockets.items()}
    urls = {name: f"{'https' if 'tls' in name else 'http'}://127.0.0.1:{port}" for name, port in ports.items()}
    (home / "nginx.conf").write_text(_configuration(home, ports, urls))
    fds = [listener.fileno() for listener in sockets.values()]
    process = subprocess.Popen(
        [program, "-p", home, "-c", home / "nginx.conf", "-e", home / "error.log"],
        pass_fds=fds,
        env={"PATH": os.environ.get("PATH", ""), "NGINX": "".join(f"{fd};" for fd in fds)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    for listener in sockets.values():
        listener.close()
    try:
        _wait_until_it_answers(process, ports["plain"], home)
        yield Nginx(home / "root", urls, home / "cert.pem", home / "access.log")
    finally:
        process.terminate()  # the master ends its worker
        process.wait()


def _configuration(home: Path, ports: dict[str, int], urls: dict[str, str]) -> str:
    servers = []
    for name, settings in SERVERS.items():
        own = settings.replace("{home}", str(home)).replace("{plain}", urls["plain"])
        ssl = " ssl" if "tls" in name else ""
        servers.append(f"server {{ listen 127.0.0.1:{ports[name]}{ssl}; {own} location / {{ root {home}/root; }} }}")
    temporary = " ".join(
        f"{kind}_temp_path {home}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    user = "user root;" if os.geteuid() == 0 else ""  # the temporary directories of tests are the user's alone
    log = "'$server_port $status $request_method $request_uri $http_range'"
    return f"""
        daemon off; worker_processes 1; {user} pid {home}/pid; error_log {home}/error.log;
        events {{ worker_connections 1024; }}
        http {{
            log_format short {log}; access_log {home}/access.log short; keepalive_requests 100000; {temporary}
            {" ".join(servers)}
        }}
    """


def _wait_until_it_answers(process: subprocess.Popen[bytes], port: int, home: Path) -> None:
    # The sockets take connections from the start, so a question waits for its answer, and no longer than needed.
    give_up_at = time.monotonic() + 30
    while time.monotonic() < give_up_at:
        if process.poll() is not None:
            pytest.fail(f"nginx ended: {(home / 'error.log').read_text()}")
        if _answers(port, timeout_s=1):
            return
    pytest.fail("nginx does not answer")


def _answers(port: int, *, timeout_s: float) -> bool:
    with socket.create_connection(("127.0.0.1", port), timeout=timeout_s) as connection:
        connection.sendall(f"GET {_NO_SUCH_FILE} HTTP/1.0\r\n\r\n".encode())
        try:
            return connection.recv(12).startswith(b"HTTP/1.1 404")
        except TimeoutError:
            return False
