"""Every guarantee names tests that are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "guarantees.md").read_text()
NAMED = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)


@pytest.mark.parametrize(("path", "name"), NAMED)
def test_the_test_that_a_guarantee_names_is_there(path: str, name: str) -> None:
    assert re.search(rf"^(async )?def {name}\(", (ROOT / path).read_text(), re.MULTILINE)


def test_every_guarantee_names_a_test() -> None:
    for guarantee in re.split(r"^\d+\. ", PAGE, flags=re.MULTILINE)[1:]:
        assert "::test_" in guarantee, guarantee
