"""``models create NAME --factory``: the spec follows from an example of what an application sends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer

from driftline.cli.own_network import NetworkChoices, asked_for, inputs_like
from driftline.errors import InvalidInput

# rows as they are sent, and the inputs of a spec
INPUTS: list[tuple[list[Any], dict[str, Any]]] = [
    ([[1.5, 2]], {"shape": [2], "dtype": "float32"}),
    ([[[1, 2]], [[3, 4]]], {"shape": [1, 2], "dtype": "int64"}),
    ([3, 4.5], {"shape": [], "dtype": "float32"}),
    (
        [{"user": 3, "image": [[0.5]]}],
        {"user": {"shape": [], "dtype": "int64"}, "image": {"shape": [1, 1], "dtype": "float32"}},
    ),
]


@pytest.mark.parametrize(("rows", "inputs"), INPUTS)
def test_inputs_are_as_the_rows_are(rows: list[Any], inputs: dict[str, Any]) -> None:
    assert inputs_like(rows) == inputs


def test_rows_of_several_lengths_and_texts_are_sequences() -> None:
    assert inputs_like([[1, 2], [3]]) == {"shape": [None], "dtype": "int64"}
    assert inputs_like([[1.5, 2]], None, {"mask": "seen"}) == {"shape": [None], "dtype": "float32", "mask": "seen"}
    text = {"tokenizer": "tokenizer.json", "max_length": 8}
    assert inputs_like([{"ids": "a text", "age": 3.5}], None, text) == {
        "ids": {"shape": [None], "dtype": "int64", **text},
        "age": {"shape": [], "dtype": "float32"},
    }
    with pytest.raises(typer.BadParameter, match="--tokenizer"):
        inputs_like(["a text"])


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            [[1, 2], [[3], [4]]],
            r"example: inputs: rows of the shapes \[2\], \[2, 1\], which differ in more than their length",
        ),
        ([[[1], [2, 3]]], "example: inputs: its lists are empty, or of different lengths"),
        ([{"x": [True]}], "example: inputs.x: True is no number"),
        ([{"x": 1}, {"y": 1}], "each of its rows has the same inputs by name"),
    ],
)
def test_rows_that_are_no_tensors_are_refused(rows: list[Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        inputs_like(rows)


# labels, the task and the classes that are given, and what the spec asks for
ASKED: list[tuple[list[Any], Any, Any, dict[str, Any]]] = [
    (["cat"], None, ["cat", "dog"], {"task": "classification", "classes": ["cat", "dog"]}),
    ([], None, [0, 1], {"task": "classification", "classes": [0, 1]}),
    ([["a", "b"]], None, ["a", "b"], {"task": "multilabel", "classes": ["a", "b"]}),
    ([0.5], None, None, {"task": "regression"}),
    ([[0.5, 1]], None, None, {"task": "regression", "outputs": 2}),
    ([3], "regression", None, {"task": "regression"}),
]


@pytest.mark.parametrize(("labels", "task", "classes", "asked"), ASKED)
def test_labels_tell_what_is_asked_for(labels: list[Any], task: Any, classes: Any, asked: dict[str, Any]) -> None:
    assert asked_for(labels, task, classes) == asked


@pytest.mark.parametrize("labels", [["cat"], [3], []])
def test_classes_have_the_order_of_the_outputs_so_that_they_are_given(labels: list[Any]) -> None:
    with pytest.raises(typer.BadParameter, match="--classes"):
        asked_for(labels, None, None)


@pytest.mark.parametrize(
    ("text", "classes"), [("3", [0, 1, 2]), ("5,7", [5, 7]), ("no, yes", ["no", "yes"]), ("-1,a", ["-1", "a"])]
)
def test_classes_are_a_list_or_how_many(tmp_path: Path, text: str, classes: list[Any]) -> None:
    (tmp_path / "example.json").write_text('{"inputs": {"x": [0.5]}, "label": 1}')
    read, rows = NetworkChoices("mine:net", example=tmp_path / "example.json", classes=text).read("m", None)
    assert (read["classes"], rows) == (classes, {"x": [[0.5]]})


def test_the_command_sends_spec_weights_and_example(server: Any, run: Any, tmp_path: Path) -> None:
    (tmp_path / "example.json").write_text('[{"inputs": [1.5, 2], "label": 1}]')
    (tmp_path / "weights").write_bytes(b"the weights")
    command = ["models", "create", "m", "--factory", "mine:net", "--example", "example.json", "--classes", "2"]
    server.answers = [(201, {"name": "m", "version": 1})]
    done = run(*command, "--weights", "weights", "--arguments", '{"width": 8}', "--json", "--url", server.url)
    assert (done.returncode, json.loads(done.stdout)) == (0, {"name": "m", "version": 1})
    body = server.requests[0].body
    sent = next(json.loads(line) for line in body.split(b"\r\n") if line.startswith(b'{"name"'))
    assert sent["inputs"] == {"shape": [2], "dtype": "float32"}
    assert sent["network"] == {"factory": "mine:net", "arguments": {"width": 8}, "output": "own"}
    assert b"the weights" in body and b"[[1.5,2]]" in body
    done = run("models", "create", "spec.json", "--example", "example.json", "--url", server.url)
    assert done.returncode == 2 and "--factory" in done.stderr
    done = run(*command, "--from", "rows.csv", "--url", server.url)
    assert done.returncode == 2


def test_all_that_is_wrong_with_a_network_is_told(server: Any, run: Any, tmp_path: Path) -> None:
    (tmp_path / "example.json").write_text('{"inputs": [1.5, 2], "label": 0.5}')
    message = "network: one thing; another thing"
    server.answers = [(422, {"error": {"code": "network_unfit", "message": message}})]
    done = run("models", "create", "m", "--factory", "mine:net", "--example", "example.json", "--url", server.url)
    assert done.returncode == 2 and message in done.stderr
