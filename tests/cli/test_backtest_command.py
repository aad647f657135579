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
from tests.ports import missing

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
    command = ("backtest", "s.csv", "--target", "y", "--delay", "4", "--drop", "value", "--limit", "60")
    result = run(*command, "--json", "--output", "o.json")
    assert result.returncode == 0, result.stderr
    first, *_ = result.stderr.splitlines()
    assert first == "200 rows; classification of y; columns: 2 number, 1 category, 1 ignore"
    found = json.loads(result.stdout)
    assert found["accuracy"].keys() == {"default", "no_change", "majority"}
    assert found["auc"].keys() == {"default"} == found["average_precision"].keys()
    assert found["recall"]["default"].keys() == {"cold", "warm"}
    assert found["stream"] == {
        "task": "classification",
        "rows": 60,
        "scored": 60,
        "skipped": 0,
        "unlabelled": 0,
        "features": ["a", "b", "colour"],
        "classes": ["cold", "warm"],
    }
    assert json.loads((folder / "o.json").read_text()) == found


def test_what_is_in_doubt_is_said_with_the_option_that_decides(folder: Path) -> None:
    (folder / "d.csv").write_text("a;n;y\n" + "".join(f"1,{n};{n % 3};{n % 2}\n" for n in range(60)))
    result = invoke("d.csv", "--target", "y", "--delay", "16", "--type", "n=category", "--recipe", "small.json")
    assert result.exit_code == 0, result.output
    assert "60 rows; classification of y; columns: 1 number, 1 category" in result.stderr
    assert "a semicolon stands between cells (--delimiter)" in result.stderr


def test_standard_input_is_played(run: Any, folder: Path) -> None:
    text = (folder / "s.csv").read_text()
    result = run("backtest", "-", "--target", "y", "--drop", "value", "--recipe", "small.json", "--json", stdin=text)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["stream"]["rows"] == 200


@pytest.mark.parametrize("inputs", [{"fields": {"a": "number", "b": "number"}}, {"shape": [2]}])
def test_a_spec_that_is_given_is_played(folder: Path, inputs: dict[str, Any]) -> None:
    spec = {"task": "classification", "classes": "open", "inputs": inputs, "recipe": SMALL}
    (folder / "spec.json").write_text(json.dumps(spec))
    found = report(
        "s.csv", "--target", "y", "--spec", "spec.json", "--drop", "value", "--drop", "colour", "--limit", "80"
    )
    assert found["stream"]["features"] == ["a", "b"] and found["stream"]["rows"] == 80
    assert found["recipes"]["default"]["strategy"]["name"] == "finetune"


def test_labels_come_at_their_own_times(folder: Path) -> None:
    days = [f"2024-{month:02}-{day:02}" for month in range(1, 5) for day in range(1, 26)]
    rows = [f"{day},{days[min(n + 5, 99)]},{n % 7},{n % 2}" for n, day in enumerate(days)]
    (folder / "times.csv").write_text("\n".join(["at,closed,a,y", *rows]) + "\n")
    found = report("times.csv", "--target", "y", "--label-time", "closed", "--time", "at", "--recipe", "small.json")
    assert found["delay"] is None and found["stream"]["features"] == ["at", "a"]
    # Five days later labels have turned over twice and a half: the last one known is the other class's, always.
    assert found["accuracy"]["no_change"] < 0.1
    result = invoke("times.csv", "--target", "y", "--label-time", "closed", "--time", "at", "--recipe", "small.json")
    assert result.stdout.splitlines()[-1] == "100 rows; a label comes when it was known"


def test_rows_without_a_label_are_counted(folder: Path) -> None:
    (folder / "gaps.csv").write_text("a,y\n" + "".join(f"{n},{'' if n % 4 == 0 else n % 2}\n" for n in range(100)))
    result = invoke("gaps.csv", "--target", "y", "--type", "a=number", "--recipe", "small.json")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[-1] == "100 rows, 25 without a label; a label comes 0 rows after its prediction"


def test_watched_it_says_how_far_each_recipe_is(folder: Path) -> None:
    result = invoke(
        *("s.csv", "--target", "y", "--drop", "value", "--delay", "16", "--limit", "60", "--watch"),
        *("--recipe", "small.json", "--recipe", "other.json"),
    )
    assert result.exit_code == 0, result.output
    for name in ("small", "other"):
        (line,) = [line for line in result.stderr.splitlines() if line.startswith(f"{name}: 60 of 60 rows")]
        assert "rows/s" in line and "accuracy" in line and "left" not in line


def test_on_a_terminal_the_display_of_what_is_watched_stays(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    command = ("s.csv", "--target", "y", "--drop", "value", "--limit", "60", "--recipe", "small.json")
    watched = invoke(*command, "--watch").stderr
    assert "60/60" in watched and "rows/s" in watched and "accuracy" in watched
    assert "\x1b[?25h" in watched, "the cursor is shown again"


def test_recipes_are_compared_by_the_names_of_their_files(folder: Path) -> None:
    files = ("--recipe", "small.json", "--recipe", "other.json")
    found = report("s.csv", "--target", "y", "--delay", "16", "--limit", "60", *files)
    assert found["accuracy"].keys() == {"small", "other", "no_change", "majority"}
    assert found["recipes"]["small"]["strategy"]["name"] == "finetune"
    assert found["recipes"]["other"]["batch_size"] == 8


def test_a_table_has_a_line_for_each(folder: Path) -> None:
    result = invoke("s.csv", "--target", "y", "--delay", "16", "--drop", "value", "--limit", "60")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].split() == [
        "accuracy",
        "macro",
        "f1",
        "balanced",
        "kappa",
        "auc",
        "ap",
        "log",
        "loss",
        "rows/s",
        "versions",
    ]
    assert [line.split("  ")[0] for line in lines[1:4]] == ["default", "no change", "majority"]
    assert lines[5].split() == ["recall", "of", "cold", "warm"] or lines[5].split() == ["recall", "of", "warm", "cold"]
    assert lines[-1] == "60 rows; a label comes 16 rows after its prediction"
    result = invoke("s.csv", "--target", "value", "--delay", "16", "--drop", "y", "--limit", "60")
    assert result.stdout.splitlines()[0].split() == ["mae", "rmse", "rows/s", "versions"]
    assert "mean" in result.stdout and "last value" in result.stdout


def test_the_same_seed_gives_the_same_json(folder: Path) -> None:
    command = ("s.csv", "--target", "y", "--delay", "16", "--drop", "value", "--limit", "60", "--seed")
    first, again, other = (report(*command, seed) for seed in ("5", "5", "6"))
    for found in (first, again, other):
        del found["labels_per_second"]
    assert first == again != other


def test_a_picture_is_drawn(folder: Path) -> None:
    if importlib.util.find_spec("matplotlib") is None:
        missing("matplotlib")
    report("s.csv", "--target", "y", "--limit", "60", "--recipe", "small.json", "--plot", "p.svg")
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
    (["s.csv", "--target", "y", "--type", "a"], "--type takes COLUMN=KIND, not 'a'"),
    (["x.csv", "--target", "y"], "x.csv cannot be read: No such file or directory"),
    (["empty.csv", "--target", "y"], "empty.csv is empty"),
    (["header.csv", "--target", "y", "--header"], "header.csv has no row"),
    (["one.csv", "--target", "y", "--header"], "no column but the target is left"),
    (["s.csv", "--target", "y", "--task", "regression"], "a regression needs numbers"),
    (["s.csv", "--target", "y", "--delay", "3", "--label-time", "a"], "a label comes --delay rows later, or at its"),
    (["s.csv", "--target", "y", "--spec", "x.json"], "x.json cannot be read: No such file"),
    (["s.csv", "--target", "y", "--spec", "s.csv"], "s.csv: not JSON"),
    (["s.csv", "--target", "y", "--spec", "list.json"], "list.json holds no spec"),
    (["s.csv", "--target", "y", "--spec", "small.json", "--task", "regression"], "--spec says what each column"),
    (["s.csv", "--target", "y", "--recipe", "x.json"], "x.json cannot be read: No such file"),
    (["s.csv", "--target", "y", "--recipe", "s.csv"], "s.csv: not JSON"),
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
def test_what_cannot_be_played_is_one_line_and_exit_code_2(
    run: Any, folder: Path, arguments: list[str], message: str
) -> None:
    files = {
        "empty.csv": "",
        "header.csv": "a,y\n",
        "one.csv": "y\n1\n",
        "list.json": "[]",
        "bad.json": '{"batch_size": 0}',
        "majority.json": "{}",
    }
    for name, text in files.items():
        (folder / name).write_text(text)
    result = run("backtest", *arguments)
    assert (result.returncode, result.stdout) == (2, "")
    *_, last = result.stderr.splitlines()
    assert last.startswith(f"driftline: {message}")
    # What the file was taken for may stand before it.
    assert result.stderr.count("driftline: ") == 1


def test_a_server_that_is_not_there_is_no_wrong_use(run: Any) -> None:
    result = run("backtest", "--model", "m", "--url", "http://127.0.0.1:1")
    assert result.returncode == 3 and "cannot be reached" in result.stderr and result.stderr.count("\n") == 1
