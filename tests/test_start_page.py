"""``docs/start.md``, followed to the letter: a file, a backtest, a model, answers and a label."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest

from tests.services import Instance
from tests.test_readme import ROOT, here, run_shell

pytestmark = pytest.mark.slow

PAGE = (ROOT / "docs" / "start.md").read_text()
BLOCKS = re.findall(r"^```(sh|python)\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


def test_the_page_leads_to_a_model_that_learns(
    empty_instance: Instance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for language, code in BLOCKS:
        if language == "sh":
            run_shell(code, tmp_path, DRIFTLINE_URL=empty_instance.url)
        else:
            code = here(code, empty_instance) if "http:" in code else code
            exec(compile(code, "start.md", "exec"), {})
    assert capsys.readouterr().out.endswith("served\n")
    with (tmp_path / "answers.csv").open() as file:
        assert {row["label"] for row in csv.DictReader(file)} == {"benign", "malignant"}
    assert empty_instance.client.model("tumours")["learned"] == 501
