"""The demo: what it counts as a failure, and that its picture fits."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from driftline import demo
from driftline.demo import chart, display
from driftline.demo.digits import PHASES, load
from driftline.demo.outcome import WINDOW, DemoOutcome
from tests import forked

pytestmark = pytest.mark.slow


def good() -> DemoOutcome:
    """A run in which nothing went wrong."""
    outcome = DemoOutcome(100.0)
    for index in range(len(PHASES)):
        outcome.enter(index)
        outcome.phases[-1].update(50.0, 0.3)
        outcome.phases[-1].update(60.0, 0.95)
    for _ in range(WINDOW):
        outcome.answer(True, 0.004)
    outcome.acknowledged = outcome.learned = outcome.served = WINDOW
    return outcome


def leave_behind(outcome: DemoOutcome) -> None:
    """A phase ends before its labels are learned."""
    outcome.phases[-1].update(90.0, 0.3)
    outcome.learned = WINDOW - 100
    outcome.leave()


def render(outcome: DemoOutcome, width: int, height: int) -> list[str]:
    console = Console(width=width, height=height, file=io.StringIO(), force_terminal=True, color_system=None)
    console.print(display.picture(outcome, console))
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined]


def test_a_good_run_has_no_failures() -> None:
    assert good().failures() == []


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda outcome: outcome.fail("late"), "1 of 201 requests failed"),
        (lambda outcome: outcome.lose("conflict"), "labels were lost"),
        (lambda outcome: outcome.answer(True, 0.1), "1 labels were lost"),
        (lambda outcome: setattr(outcome, "served", 199), "199 of 200 acknowledged labels are served"),
        (lambda outcome: setattr(outcome, "learned", 199), "199 labels are learned"),
        (lambda outcome: outcome.phases[1].update(90.0, 0.8), "accuracy did not come back within 0 s: 0.80"),
        (lambda outcome: leave_behind(outcome), "100 labels were not learned yet: this machine is busy"),
    ],
)
def test_what_must_not_happen_is_a_failure(spoil: Callable[[DemoOutcome], Any], words: str) -> None:
    outcome = good()
    spoil(outcome)
    assert any(words in failure for failure in outcome.failures())


def test_a_phase_tells_how_deep_accuracy_fell_and_when_it_came_back_for_good() -> None:
    phase = good().phases[0]
    phase.start = 30.0
    for now, accuracy in [(31, 0.9), (32, 0.2), (40, 0.9), (41, 0.8), (50, 0.9), (60, 0.95)]:
        phase.update(float(now), accuracy)
    assert (phase.lowest, phase.recovered, phase.last) == (0.2, 20.0, 0.95)


@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 40), (60, 18), (200, 60)])
@pytest.mark.parametrize("is_begun", [True, False])
def test_the_picture_fits_its_terminal(width: int, height: int, is_begun: bool) -> None:
    outcome = good() if is_begun else DemoOutcome(100.0)
    outcome.answered = outcome.learned = 14_999
    outcome.version = 9_999
    outcome.activity = PHASES[0].name
    if is_begun:
        outcome.line = [(second / 2, second / 200) for second in range(200)]
    lines = render(outcome, width, height)
    assert len(lines) < height
    assert max(map(len, lines)) <= width
    assert not any("…" in line for line in lines)


def test_the_line_goes_through_its_points() -> None:
    rows = chart.draw([(0.0, 0.0), (10.0, 1.0)], [], 10.0, 5, 10)
    assert [label for label, _ in rows] == ["100%", "    ", " 50%", "    ", "  0%"]
    assert rows[0][1][-1] != " " and rows[-1][1][0] != " "
    assert rows[0][1][0] == " " and rows[-1][1][-1] == " "


def test_each_phase_shows_other_images_of_the_same_digits() -> None:
    digits = load()
    scans = [phase.scan(digits.images[0]) for phase in PHASES]
    assert all(scan.shape == (8, 8) and 0.0 <= scan.min() <= scan.max() <= 1.0 for scan in scans)
    assert all((one != other).any() for one, other in pairwise(scans))


def test_plain_lines_need_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    lines = display.Lines(Console(file=io.StringIO()))
    outcome = good()
    outcome.activity = PHASES[0].name
    lines.draw(outcome)
    lines.draw(outcome)
    assert re.fullmatch(r" +\d+\.\d s  as scanned .*accuracy 1\.00 .*failed 0 .*\n", capsys.readouterr().out)


@pytest.fixture(scope="module")
def short_run() -> subprocess.CompletedProcess[str]:
    """A demo of 8 seconds, as a process: plain lines, as its output is no terminal."""
    root = Path(__file__).parents[1]
    command = ["-m", "driftline.cli", "demo", "--seconds", "8"]
    return forked.run(command, {**os.environ, "PYTHONPATH": str(root), "COLUMNS": "120"}, root)


def test_the_demo_loses_no_label_and_fails_no_request(short_run: subprocess.CompletedProcess[str]) -> None:
    answered = re.search(r"requests answered, failed +([\d,]+), 0\n", short_run.stdout)
    labels = re.search(r"labels served, lost +([\d,]+) of ([\d,]+), 0\n", short_run.stdout)
    assert answered and labels, short_run.stdout + short_run.stderr
    assert answered[1] == labels[1] == labels[2]
    assert int(answered[1].replace(",", "")) > 0
    # So short a run may end before accuracy is back, and that alone may be wrong with it.
    failures = [line for line in short_run.stdout.splitlines() if line.startswith("✗")]
    assert all("accuracy did not come back" in failure for failure in failures)
    assert short_run.returncode == (1 if failures else 0)
    assert "Traceback" not in short_run.stderr


def test_the_demo_shows_drift_and_new_versions(short_run: subprocess.CompletedProcess[str]) -> None:
    for phase in PHASES:
        assert phase.name in short_run.stdout
    versions = [int(version) for version in re.findall(r"version (\d+)", short_run.stdout)]
    assert versions == sorted(versions) and versions[-1] > versions[0]


def test_it_offers_to_stay_up_to_people_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for stream in (sys.stdin, sys.stdout):
        monkeypatch.setattr(stream, "isatty", lambda: True, raising=False)
    monkeypatch.delenv("CI", raising=False)
    assert demo.is_interactive()
    monkeypatch.setenv("CI", "true")
    assert not demo.is_interactive()
    monkeypatch.delenv("CI")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: False, raising=False)
    assert not demo.is_interactive()


@pytest.mark.parametrize(("answers", "opens"), [(["y", ""], True), ([""], False), (["n"], False), ([], False)])
def test_who_stays_sees_the_page_of_the_model_until_enter(
    monkeypatch: pytest.MonkeyPatch, answers: list[str], opens: bool
) -> None:
    opened: list[str] = []
    asked = iter(answers)

    def read(prompt: str) -> str:
        try:
            return next(asked)
        except StopIteration:
            raise EOFError from None

    monkeypatch.setattr("builtins.input", read)
    monkeypatch.setattr("webbrowser.open", opened.append)
    demo.stay("http://127.0.0.1:1/#/models/digits")
    assert opened == ["http://127.0.0.1:1/#/models/digits"] * opens
    assert next(asked, None) is None, "every answer was waited for"
