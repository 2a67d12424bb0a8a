import io
import json
import logging
import warnings

import pytest
import structlog

from mountd.errors import UsageError
from mountd.observe import logs

SECRET = "c2VjcmV0c2VjcmV0"


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def restored():
    """Leave structlog and the standard library's logging as they were."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    # An earlier test may have configured logs: what it captured went away with it, but logging would not capture anew.
    logging.captureWarnings(False)
    yield
    logging.captureWarnings(False)
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.fixture
def lines():
    """Configure JSON output and return a function that reads it."""
    stream = io.StringIO()
    logs.configure(stream=stream, level="debug")
    return lambda: [json.loads(line) for line in stream.getvalue().splitlines()]


def test_an_event_is_one_json_object_with_its_context(lines):
    logs.get_logger("mountd.x", mount="data").info("ready", pid=12, nested={"a": [1, None, True]})
    (line,) = lines()
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "component": "mountd.x", "mount": "data", "event": "ready", "level": "info", "pid": 12,
        "nested": {"a": [1, None, True]},
    }  # fmt: skip


def test_a_logger_made_before_follows_the_configuration():
    early = logs.get_logger("mountd.early")
    stream = io.StringIO()
    logs.configure(stream=stream, level="info")
    early.info("here")
    assert json.loads(stream.getvalue())["event"] == "here"


def test_secrets_are_removed_everywhere(lines):
    log = logs.get_logger("mountd.x", url=f"https://a?sig={SECRET}")
    nested = [{"account_key": SECRET}, f"AccountKey={SECRET}"]
    log.warning("sig=c2VjcmV0c2VjcmV0", values=nested, error=ValueError(f"sig={SECRET}"))
    assert SECRET not in json.dumps(lines())


def test_secrets_are_removed_from_exception_text(lines):
    def fails():
        raise ValueError(f"GET https://a/c?sig={SECRET} is 403")

    try:
        fails()
    except ValueError:
        logs.get_logger("mountd.x").exception("failed")
    (line,) = lines()
    assert "ValueError: GET https://a/c?sig=*** is 403" in line["exception"]
    assert "in fails" in line["exception"]
    assert SECRET not in json.dumps(line)


def test_a_line_break_in_a_value_stays_inside_the_line(lines):
    logs.get_logger("mountd.x").info("a\nb", text="c\nd")
    assert lines()[0]["event"] == "a\nb"


def test_what_libraries_log_joins_redacted(lines):
    logging.getLogger("azure.core").warning("request %s", f"https://a?sig={SECRET}")
    logging.getLogger("azure.core").info("chatter")
    (line,) = lines()
    assert (line["component"], line["level"], line["event"]) == ("azure.core", "warning", "request https://a?sig=***")


def test_a_library_exception_carries_its_traceback(lines):
    try:
        raise ValueError(f"sig={SECRET}")
    except ValueError:
        logging.getLogger("some.library").exception("broken")
    (line,) = lines()
    assert "ValueError: sig=***" in line["exception"]


def test_python_warnings_join(lines):
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("careful", stacklevel=1)
    (line,) = lines()
    assert line["component"] == "py.warnings"
    assert "careful" in line["event"]


def test_configuring_twice_does_not_write_twice(lines):
    stream = io.StringIO()
    logs.configure(stream=stream, level="info")
    logs.configure(stream=stream, level="info")
    logging.getLogger("lib").warning("once")
    assert len(stream.getvalue().splitlines()) == 1


def test_a_terminal_gets_words_and_no_json():
    stream = Terminal()
    logs.configure(stream=stream, level="info")
    logs.get_logger("mountd.x").info("ready", url=f"https://a?sig={SECRET}")
    text = stream.getvalue()
    assert "ready" in text
    assert not text.startswith("{")
    assert SECRET not in text


def test_a_terminal_gets_tracebacks_redacted():
    stream = Terminal()
    logs.configure(stream=stream, level="info")
    try:
        raise ValueError(f"sig={SECRET}")
    except ValueError:
        logs.get_logger("mountd.x").exception("failed")
    assert "Traceback" in stream.getvalue()
    assert SECRET not in stream.getvalue()


def test_a_terminal_that_went_away_ends_nothing():
    class Gone(io.StringIO):
        def write(self, text):
            raise OSError(5, "Input/output error")

    logs.configure(stream=Gone(), level="info")
    logs.get_logger("mountd.x").error("nobody hears this")


def test_events_below_the_level_are_dropped(monkeypatch):
    monkeypatch.setenv("MOUNTD_LOG_LEVEL", "WARNING")
    stream = io.StringIO()
    logs.configure(stream=stream)
    log = logs.get_logger("mountd.x")
    log.info("no")
    log.warning("yes")
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["yes"]


def test_a_level_that_is_none_says_which_there_are():
    with pytest.raises(UsageError, match=r"MOUNTD_LOG_LEVEL='loud'.*debug, info, warning"):
        logs.level_from({"MOUNTD_LOG_LEVEL": "loud"})


def test_no_level_means_info():
    assert logs.level_from({}) == logs.level_from({"MOUNTD_LOG_LEVEL": " "}) == "info"
