"""Log lines say what has happened: to people at a terminal, and as JSON to everything else."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from driftline.support.logs import LogFormat, set_up_logging, tell


@pytest.fixture(autouse=True)
def root() -> Iterator[None]:
    """Leaves logging as it was."""
    logger = logging.getLogger()
    handlers, level = logger.handlers[:], logger.level
    yield
    logger.handlers[:], logger.level = handlers, level


def lines(form: LogFormat, monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    set_up_logging("info", form)
    return stream


def test_an_event_is_a_line_of_json_with_its_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = lines("json", monkeypatch)
    with structlog.contextvars.bound_contextvars(request="r-7"):
        tell("weather", "version", "version 7 is live", version=7, actor="worker", job=None)
    line: dict[str, Any] = json.loads(stream.getvalue())
    assert line.pop("timestamp")
    assert line == {
        **{"event": "version 7 is live", "level": "info", "logger": "driftline.events", "model": "weather"},
        **{"kind": "version", "version": 7, "actor": "worker", "request": "r-7"},
    }


def test_a_line_of_a_library_and_its_traceback_are_one_line_of_json(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = lines("json", monkeypatch)
    secret = "hidden row"
    try:
        raise ValueError("seven" * bool(secret))
    except ValueError:
        logging.getLogger("some.library").exception("it has failed %d times", 3)
    (line,) = stream.getvalue().splitlines()
    assert secret not in line
    found = json.loads(line)
    assert found["event"] == "it has failed 3 times" and found["level"] == "error"
    assert found["exception"][0]["exc_value"] == "seven"


def test_people_get_a_line_to_read(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = lines("console", monkeypatch)
    tell("weather", "alarm", "the error has risen", alarm="drift")
    assert "the error has risen" in stream.getvalue() and "drift" in stream.getvalue()
    assert "{" not in stream.getvalue()


def test_what_is_no_terminal_gets_json(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = lines("auto", monkeypatch)
    tell("weather", "pause", "learning is paused")
    assert json.loads(stream.getvalue())["kind"] == "pause"


def test_what_is_below_the_level_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = lines("json", monkeypatch)
    logging.getLogger("driftline.x").debug("nothing")
    assert stream.getvalue() == ""
