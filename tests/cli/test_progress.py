"""How far a file has come: bars in a terminal, else a line now and then."""

from __future__ import annotations

import re

import pytest

from driftline.cli.progress import FileProgress
from driftline.files.sending import Progress


@pytest.mark.parametrize("is_read", [False, True])
def test_a_terminal_shows_bars_for_what_is_sent_and_learned(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], is_read: bool
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    with FileProgress(4000, is_learning=True) as bars:
        bars(Progress(read=3000, handed=2500, sent=2000, learned=1200, is_read=is_read, trouble="the log is full"))
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", capsys.readouterr().err)
    total = " of 2,500" if is_read else ""
    assert re.search(rf"sent .*2,000{total} .*rows/s", shown) and re.search(rf"learned .*1,200{total} .*rows/s", shown)
    assert "it goes on as soon as it can: the log is full" in shown


def test_what_is_no_terminal_gets_few_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress(read=3000, sent=2000, learned=1200, refused=3, doubts=["a semicolon stands between cells"])
    with FileProgress(None, is_learning=True, line_seconds=0.0) as lines:
        lines(progress)
        lines.line_seconds = 1000.0
        lines(progress)
    told, line = capsys.readouterr().err.splitlines()
    assert told == "· a semicolon stands between cells"
    assert line.startswith("3,000 rows read, 2,000 sent, 1,200 learned, 3 refused")


def test_what_is_in_the_way_is_said_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    with FileProgress(None, is_learning=True) as lines:
        for seconds in range(50):
            lines(Progress(trouble=f"the log has been full for {seconds} s"))
            lines(Progress())
    assert capsys.readouterr().err == "it goes on as soon as it can: the log has been full for 0 s\n"
