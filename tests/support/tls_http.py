"""An HTTP server with TLS on loopback, and the certificate by which it is trusted."""

import datetime
import ipaddress
import os
import socket
import ssl
import struct
import threading
from contextlib import suppress

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

TLS_BODY = bytes(range(256)) * 40


@pytest.fixture
def certificate(tmp_path):
    """A certificate for 127.0.0.1 that signs itself, with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "here")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "here.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path


class TlsServer:
    """Answers every request with `TLS_BODY`, one connection after the other."""

    def __init__(self, certificate):
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._endings = []
        self.url = f"https://127.0.0.1:{self._listener.getsockname()[1]}"
        self.handshakes = 0
        """Those that worked."""
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()

    def end_connection(self, how):
        """End the connection that is served: "closed", by a "reset", or with what is an "alert" to TLS."""
        self._endings.append(how)

    def stop(self):
        self._endings.append("closed")
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10)

    def _accept(self):
        while True:
            try:
                plain, _ = self._listener.accept()
            except OSError:
                return
            with plain, suppress(OSError), self._context.wrap_socket(plain, server_side=True) as connection:
                self.handshakes += 1
                connection.settimeout(0.02)
                self._serve(connection)

    def _serve(self, connection):
        head = b"HTTP/1.1 206 Because\r\nContent-Length: %d\r\n\r\n" % len(TLS_BODY)
        while not self._endings:
            with suppress(TimeoutError):
                if not connection.recv(4096):
                    return
                connection.sendall(head + TLS_BODY)
        how = self._endings.pop()
        if how == "reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif how == "alert":
            os.write(connection.fileno(), b"this is no record of TLS")


@pytest.fixture
def tls_server(certificate):
    server = TlsServer(certificate)
    yield server
    server.stop()
