"""``driftline backtest``: what it plays, prints and writes, and how it refuses."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from driftline.cli import app
from tests.conftest import missing

SMALL = {"strategy": "finetune", "updates": 8}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a stream, and recipes to compare."""
    random = np.random.default_rng(1)
    rows = [(*random.normal(size=2).round(3), random.choice(["red", "blue"])) for _ in range(200)]
    lines = [f"{a},{b},{colour},{'warm' if a > 0 else 'cold'},{10 * a + 3 * b}" for a, b, colour in rows]
    (tmp_path / "s.csv").write_text("\n".join(["a,b,colour,y,value", *lines]) + "\n")
    (tmp_path / "small.json").write_text(json.dumps(SMALL))
    (tmp_path / "other.json").write_text('{"batch_size": 8}')
    monkeypatch.chdir(tmp_path)
    return tmp_path


def invoke(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["backtest", *arguments], env={"NO_COLOR": "1", "COLUMNS": "120"})


def report(*arguments: str) -> dict[str, Any]:
    result = invoke(*arguments, "--json")
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_a_file_is_played_as_a_process_and_the_json_holds_accuracy_by_recipe(run: Any, folder: Path) -> None:
    command = ("backtest", "s.csv", "--target", "y", "--delay", "4", "--drop", "value")
    result = run(*command, "--json", "--output", "o.json")
    assert (result.returncode, result.stderr) == (0, "")
    found = json.loads(result.stdout)
    assert found["accuracy"].keys() == {"default", "no_change", "majority"}
    assert found["stream"] == {
        "task": "classification",
        "rows": 200,
        "scored": 200,
        "skipped": 0,
        "features": ["a", "b", *found["stream"]["features"][2:]],
        "classes": found["stream"]["classes"],
    }
    assert set(found["stream"]["features"][2:]) == {"colour=red", "colour=blue"}
    assert json.loads((folder / "o.json").read_text()) == found


def test_recipes_are_compared_by_the_names_of_their_files(folder: Path) -> None:
    found = report("s.csv", "--target", "y", "--delay", "16", "--recipe", "small.json", "--recipe", "other.json")
    assert found["accuracy"].keys() == {"small", "other", "no_change", "majority"}
    assert found["recipes"]["small"]["strategy"]["name"] == "finetune"
    assert found["recipes"]["other"]["batch_size"] == 8


def test_a_table_has_a_line_for_each(folder: Path) -> None:
    result = invoke("s.csv", "--target", "y", "--delay", "16", "--drop", "value", "--limit", "100")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["accuracy", "balanced", "kappa", "log", "loss", "labels/s", "versions"]
    assert [line.split("  ")[0] for line in lines[1:4]] == ["default", "no change", "majority"]
    assert lines[-1] == "100 rows; a label comes 16 rows after its prediction"
    result = invoke("s.csv", "--target", "value", "--delay", "16", "--drop", "y")
    assert result.stdout.splitlines()[0].split() == ["mae", "rmse", "labels/s", "versions"]
    assert "mean" in result.stdout and "last value" in result.stdout


def test_the_same_seed_gives_the_same_json(folder: Path) -> None:
    command = ("s.csv", "--target", "y", "--delay", "16", "--drop", "value", "--seed")
    first, again, other = (report(*command, seed) for seed in ("5", "5", "6"))
    for found in (first, again, other):
        del found["labels_per_second"]
    assert first == again != other


def test_a_picture_is_drawn(folder: Path) -> None:
    if importlib.util.find_spec("matplotlib") is None:
        missing("matplotlib")
    report("s.csv", "--target", "y", "--delay", "16", "--plot", "p.svg")
    assert "majority" in (folder / "p.svg").read_text()


def test_a_model_s_own_log_is_played(server: Any, folder: Path) -> None:
    spec = {"name": "m", "task": "classification", "inputs": {"shape": [1]}, "classes": ["p", "q"], "recipe": SMALL}
    answer = {"version": 1, "label": "q", "probabilities": [0.4, 0.6]}
    items = [
        {"n": n, "inputs": [float(n)], "label": "q" if n % 4 else "p", "weight": 1.0, "answer": answer}
        for n in range(1, 41)
    ]
    server.answers = [
        (200, {"name": "m", "spec": spec}),
        (200, b"".join(json.dumps(i).encode() + b"\n" for i in items)),
    ]
    found = report("--model", "m", "--delay", "8", "--limit", "40", "--url", server.url)
    assert [path for _, path, _ in server.sent] == ["/v1/models/m", "/v1/models/m/log?start=1&limit=40"]
    assert found["accuracy"].keys() == {"current", "no_change", "majority", "as_served"}
    assert found["accuracy"]["as_served"] == 0.75
    assert found["recipes"]["current"]["strategy"]["name"] == "finetune"


WRONG: list[tuple[list[str], str]] = [
    ([], "name a FILE to play, or a model with --model"),
    (["s.csv"], "name the column that is the label with --target"),
    (["s.csv", "--target", "z"], "s.csv has no column 'z'; it has a, b, colour, y, value"),
    (["s.csv", "--target", "y", "--drop", "z"], "s.csv has no column 'z'"),
    (["x.csv", "--target", "y"], "x.csv cannot be read: No such file or directory"),
    (["empty.csv", "--target", "y"], "empty.csv is empty"),
    (["header.csv", "--target", "y"], "header.csv has no row"),
    (["one.csv", "--target", "y"], "one.csv has no column besides the target"),
    (["names.csv", "--target", "y"], "the column 'name' holds 30 different texts"),
    (["gap.csv", "--target", "y", "--missing", "error"], "the column 'a' has no value in row 2"),
    (["s.csv", "--target", "y", "--task", "regression"], "the target 'y' of a regression holds "),
    (["s.csv", "--target", "y", "--recipe", "x.json"], "x.json cannot be read: No such file"),
    (["s.csv", "--target", "y", "--recipe", "s.csv"], "s.csv is not JSON"),
    (["s.csv", "--target", "y", "--recipe", "list.json"], "list.json holds no recipe"),
    (
        ["s.csv", "--target", "y", "--recipe", "bad.json"],
        "recipe.batch_size: input should be greater than or equal to 1",
    ),
    (["s.csv", "--target", "y", "--recipe", "majority.json"], "a recipe is named 'majority'"),
    (["s.csv", "--target", "y", "--recipe", "small.json", "--recipe", "./small.json"], "two recipes are named 'small'"),
    (["s.csv", "--target", "y", "--plot", "p.txt"], "p.txt: a picture's name ends with"),
    (["s.csv", "--target", "y", "--output", "none/o.json"], "none/o.json cannot be written"),
    (["s.csv", "--model", "m"], "--model plays the model's own log"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG, ids=lambda value: None)
def test_what_cannot_be_played_is_one_line_and_exit_code_2(folder: Path, arguments: list[str], message: str) -> None:
    files = {
        "empty.csv": "",
        "header.csv": "a,y\n",
        "one.csv": "y\n1\n",
        "names.csv": "name,y\n" + "".join(f"name {n},{n % 2}\n" for n in range(30)),
        "gap.csv": "a,y\n1,0\n,1\n",
        "list.json": "[]",
        "bad.json": '{"batch_size": 0}',
        "majority.json": "{}",
    }
    for name, text in files.items():
        (folder / name).write_text(text)
    result = invoke(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"driftline: {message}")
    assert result.stderr.count("\n") == 1


def test_a_server_that_is_not_there_is_no_wrong_use(run: Any) -> None:
    result = run("backtest", "--model", "m", "--url", "http://127.0.0.1:1")
    assert result.returncode == 1 and "cannot be reached" in result.stderr and result.stderr.count("\n") == 1
