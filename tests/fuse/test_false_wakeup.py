"""A request may be gone between "there is one" and the read of it, because its sender was killed in between.

SEMANTICS: "Errors".
"""

import os
import threading

import pytest

pytestmark = pytest.mark.fuse


def test_a_false_alarm_does_not_stop_what_is_under_way(serve):
    """The read of /dev/fuse then waits, and with it the loop, although an answer is due; nobody else asks anything."""
    server = serve({"file": b"content"}, engine="libfuse")
    os.listdir(server.path)
    server.fault(method="read", delay_s=1.0)
    outcome = []
    reader = threading.Thread(target=lambda: outcome.append((server.path / "file").read_bytes()), daemon=True)
    reader.start()
    server.wait_until(lambda counters: counters["calls"].get("read") == 1)
    server.call("wake_falsely")
    os.statvfs(server.path)  # whoever answers this one is the next to look, and is told of a request that is not there
    reader.join(10)
    assert outcome == [b"content"]
