"""The picture of a backtest."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

from driftline.backtest import plot
from driftline.errors import ConfigurationError, InvalidInput
from tests.ports import missing

REPORT: dict[str, Any] = {
    "windows": {"rows": 50, "accuracy": {"mine": [0.5, 0.9], "no_change": [0.5, 0.5]}, "at": [26, 76]},
    "recipes": {"mine": {}},
    "alarms": {"mine": [60]},
    "stream": {"rows": 100},
    "delay": 32,
}


def test_a_picture_shows_every_contender_and_the_alarms(tmp_path: Path) -> None:
    if importlib.util.find_spec("matplotlib") is None:
        missing("matplotlib")
    plot.check(tmp_path / "p.svg")
    plot.draw(REPORT, tmp_path / "p.svg")
    text = (tmp_path / "p.svg").read_text()
    for words in ("mine", "no change", "labels 32 rows later"):
        assert words in text
    plot.draw(REPORT, tmp_path / "p.png")
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")


def test_a_name_that_is_no_picture_s_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"p\.txt: a picture's name ends with \.png, \.svg"):
        plot.check(tmp_path / "p.txt")


def test_without_its_package_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'driftline\[plot\]'"):
        plot.check(tmp_path / "p.png")
