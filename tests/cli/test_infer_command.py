"""``driftline infer``: the spec on standard output, what was decided on standard error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from driftline.cli import app
from driftline.spec import ModelSpec, parse


@pytest.fixture
def history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    lines = ["price;city name;sold"] + [
        f"{row % 7},5;{'abc'[row % 3]};{'yes' if row * row % 3 else 'no'}" for row in range(60)
    ]
    (tmp_path / "My History.csv").write_text("\n".join([*lines, "9,5;n.a.;"]) + "\n", encoding="cp1252")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "My History.csv"


def invoke(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["infer", *arguments], env={"NO_COLOR": "1", "COLUMNS": "160"})


def test_a_spec_is_printed_and_the_doubts_beside_it(run: Any, history: Path) -> None:
    done = run("infer", "-", "--target", "sold", stdin=history.read_text(), COLUMNS="160")
    assert done.returncode == 0, done.stderr
    spec = json.loads(done.stdout)
    assert spec == {
        "name": "model",
        "task": "classification",
        "classes": ["no", "yes"],
        "inputs": {"fields": {"price": "number", "city name": "category"}},
    }
    parse(ModelSpec, spec)
    for said in (
        "`0,5` is 0.5 (61 cells) (--decimal)",
        "read as missing: `n.a.` (1; first in row 61)",
        "61 rows; classification of sold, 2 classes",
        "a semicolon stands between cells (--delimiter)",
        "sold: 1 of 61 rows have no label",
    ):
        assert said in done.stderr


def test_every_option_decides(history: Path) -> None:
    options = ("--name", "mine", "--task", "classification", "--type", "price=category", "--drop", "city name")
    done = invoke(str(history), "--target", "sold", *options, "--encoding", "cp1252", "--delimiter", ";", "--header")
    assert done.exit_code == 0, done.output
    spec = json.loads(done.stdout)
    assert (spec["name"], spec["inputs"]["fields"]) == ("mine", {"price": "category", "city name": "ignore"})
    plain = json.loads(invoke(str(history), "--target", "column3", "--no-header", "--decimal", ",").stdout)
    assert (plain["name"], list(plain["inputs"]["fields"])) == ("my-history", ["column1", "column2"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--target", "sold", "--type", "price"), "--type takes COLUMN=KIND, not 'price'"),
        (("--target", "sole"), "My History.csv has no column 'sole'; it has price, city name, sold"),
        (("--target", "sold", "--encoding", "klingon"), "there is no encoding 'klingon'"),
        (("--target", "sold", "--task", "regression"), "a regression needs numbers"),
    ],
)
def test_what_does_not_fit_is_one_line_and_exit_code_2(
    run: Any, history: Path, options: tuple[str, ...], message: str
) -> None:
    done = run("infer", str(history), *options)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr and done.stderr.count("\n") == 1
