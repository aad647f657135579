"""A learner of rows with fields: it learns them, goes on from its state, and learns a past as if it had lived it."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
import torch

from driftline.backtest.replay import Service, play
from driftline.backtest.stream import Stream
from driftline.errors import InvalidInput
from driftline.ingest.rows import RowReader
from driftline.learning.learner import Learner
from driftline.learning.training.updates_per_step import updates_for
from driftline.networks.edits import apply_all
from driftline.records import Item, Plan
from driftline.spec import ModelSpec, parse
from driftline.spec.parts.edits import EDITS
from tests.learning.conftest import assert_same, restored

FIELDS: dict[str, Any] = {
    "n": "number",
    "c": "category",
    "t": "time",
    "b": "boolean",
    "x": "text",
    "p": {"type": "tensor", "shape": [2]},
}


def spec(task: str = "classification", **changes: Any) -> ModelSpec:
    """Of the network alone: what is about experts names their strategy, which takes far longer."""
    classes = {"classes": ["no", "yes"]} if task == "classification" else {}
    whole = {"name": "m", "task": task, "inputs": {"fields": FIELDS}, **classes, **changes}
    return parse(ModelSpec, whole | {"recipe": {"strategy": "replay", **changes.get("recipe", {})}})


def rows_and_values(count: int, seed: int = 0) -> tuple[list[dict[str, Any]], list[float]]:
    """Rows whose value hangs on all of their fields."""
    random = np.random.default_rng(seed)
    rows, values = [], []
    for n in range(count):
        number, category, flag, word = (
            random.normal(),
            int(random.integers(40)),
            random.random() < 0.5,
            random.random() < 0.5,
        )
        part = random.normal(size=2)
        row = {
            "n": None if random.random() < 0.1 else number,
            "c": f"c{category}",
            "t": 1.7e9 + 3600 * n,
            "b": flag,
            "x": "a friendly reply" if word else "a rude reply",
            "p": part.tolist(),
        }
        rows.append(row)
        values.append(float(number + (category % 7 - 3) + flag + 2 * word + part[0]))
    return rows, values


def stream(count: int, spec: ModelSpec) -> Stream:
    rows, values = rows_and_values(count)
    labels: Any = values if spec.task == "regression" else ["yes" if value > 1.5 else "no" for value in values]
    return Stream(spec, RowReader(spec).batch(rows), labels)


def items(count: int, spec: ModelSpec, **changes: Any) -> list[Item]:
    history = stream(count, spec)
    labels = [label for label in history.labels if label is not None]
    return [Item(f"i{n}", history.inputs.item(n), label, **changes) for n, label in enumerate(labels)]


def plan(labels: int, version: int) -> Plan:
    """As a backtest makes a step."""
    return Plan(updates_for(spec().recipe, labels), publish=True, version=version + 1)


@pytest.mark.parametrize("recipe", [{"strategy": "experts"}, {"averaging": "ema"}])
def test_all_fields_tell_of_the_class(recipe: dict[str, Any]) -> None:
    one = spec(recipe=recipe)
    whole = stream(800, one)
    played = play(whole, one, 32, 0)
    right = np.mean([a == b for a, b in zip(played.answers[400:], whole.labels[400:], strict=True)])
    assert right > 0.75


def test_all_fields_tell_of_the_value() -> None:
    one = spec("regression", recipe={"strategy": "experts"})
    whole = stream(800, one)
    answers, labels = (np.array(each[400:], float) for each in (play(whole, one, 32, 0).answers, whole.labels))
    assert np.abs(answers - labels).mean() < 0.6 * np.abs(labels - labels.mean()).mean()


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_it_goes_on_from_its_state_bit_for_bit(task: str) -> None:
    whole = spec(task, recipe={"strategy": "experts", "input_detector": {}, "on_alarm": "shorten"})
    one, all_of_them = Learner.create(whole, seed=3), items(200, whole)
    step = Plan(updates=2, publish=True, version=2)
    for first in range(0, 100, 10):
        one.learn(all_of_them[first : first + 10], range(first + 1, first + 11), step)
    other = restored(one)
    for first in range(100, 200, 10):
        for each in (one, other):
            each.learn(all_of_them[first : first + 10], range(first + 1, first + 11), step)
    assert one.digest() == other.digest()
    assert_same(one.state_dict(), other.state_dict())


def test_a_past_is_learned_as_the_same_stream_would_have_been_live() -> None:
    """The backtest serves and learns a stream; an import of it, in steps of the same labels, gives the same learner."""
    whole = spec()
    history, past = stream(400, whole), items(400, whole, route="import")
    lived, imported = Service(Learner.create(whole, seed=3), history), Learner.create(whole, seed=3)
    version = 1
    for first in range(0, 400, 16):
        numbers = range(first + 1, first + 17)
        lived.step(16)
        decision = imported.learn(past[first : first + 16], numbers, plan(16, version)).decision
        version += decision is not None and decision.promoted
    assert lived.played.versions == version
    assert imported.digest() == lived.learner.digest()
    assert imported.metrics()["prequential"]["count"] == 400
    assert imported.metrics() == lived.learner.metrics()


@pytest.mark.parametrize("delay", [0, 20])
def test_a_step_of_several_batches_is_the_same_bit_for_bit_as_a_step_for_each(delay: int) -> None:
    whole = spec()
    past = items(192, whole, route="import", delay=delay)
    one, other = Learner.create(whole, seed=3), Learner.create(whole, seed=3)
    together = one.learn(past, range(1, 193), Plan(1, publish=True, version=2, at_once=32))
    for first in range(0, 192, 32):
        step = Plan(1, publish=first == 160, version=2)
        result = other.learn(past[first : first + 32], range(first + 1, first + 33), step)
    assert one.digest() == other.digest()
    assert_same(one.state_dict(), other.state_dict())
    assert together.scored == 192 - delay and together.decision == result.decision is not None


def test_late_labels_are_learned_when_they_were_known() -> None:
    whole = spec()
    one, past = Learner.create(whole, seed=3), items(100, whole, route="import", delay=32)
    for first in range(0, 100, 20):
        one.learn(past[first : first + 20], range(first + 1, first + 21), Plan(1, publish=True, version=2))
        assert one.learned == max(0, first + 20 - 32)
    assert len(one.late_labels) == 32
    other = restored(one)
    live = msgspec.structs.replace(past[0], route="live", delay=0)
    for each in (one, other):
        each.learn([live] * 40, range(101, 141), Plan(1, publish=True, version=2))
        assert each.learned == 140 and not len(each.late_labels), "what comes later makes them known"
    assert one.digest() == other.digest()


def test_a_late_label_scores_the_answer_of_its_time() -> None:
    """A class that is told by its row is answered wrongly until its label is known, and no longer."""
    whole = parse(
        ModelSpec, {"name": "m", "task": "classification", "classes": "open", "inputs": {"fields": {"c": "category"}}}
    )
    reader, one = RowReader(whole), Learner.create(whole, seed=1)
    row = reader.row({"c": "x"}).item(0)
    for n in range(1, 61):
        item = Item(f"i{n}", row, "a", route="import", delay=20)
        one.learn([item], [n], Plan(1, publish=True, version=n + 1))
    scores = one.metrics()["prequential"]
    assert scores["count"] == 40 and scores["accuracy"] == pytest.approx(19 / 40, abs=0.03)


@pytest.mark.parametrize(
    "fields",
    [{"p": {"type": "tensor", "shape": [2]}}, {"n": "number"}, {"c": "category"}, {"x": "text"}, {"t": "time"}],
)
def test_one_field_of_any_type_is_enough(fields: dict[str, Any]) -> None:
    whole = spec(inputs={"fields": fields})
    rows, reader, one = rows_and_values(24)[0], RowReader(whole), Learner.create(whole, seed=3)
    for n, row in enumerate(rows, 1):
        record = reader.row({name: value for name, value in row.items() if name in fields}).item(0)
        one.learn([Item(f"i{n}", record, "no" if n % 2 else "yes")], [n], Plan(1, publish=True, version=n + 1))
    assert one.learned == 24 and one.digest() == restored(one).digest()


@pytest.mark.parametrize("task", ["classification", "regression"])
@pytest.mark.parametrize("row", [{}, {"n": 1e38, "c": "z" * 1000, "x": "", "t": -1e15}, {"p": [3e38, -3e38]}])
def test_any_row_is_answered_and_learned(task: str, row: dict[str, Any]) -> None:
    whole = spec(task, recipe={"strategy": "experts"})
    one, record = Learner.create(whole, seed=3), RowReader(whole).row(row).item(0)
    label = "no" if task == "classification" else 5.0
    for n in range(1, 9):
        result = one.learn([Item(f"i{n}", record, label)], [n], Plan(1, publish=True, version=n + 1))
        assert not result.rejected and not result.quarantined
    with torch.no_grad():
        inputs = {name: torch.from_numpy(array) for name, array in RowReader(whole).row(row).tensors.items()}
        assert bool(one.served.eval().predict(inputs).isfinite().all())


RENAME = {"type": "rename_field", "field": "n", "to": "size"}
DROP = {"type": "drop_field", "field": "c"}


def answers_of(one: Learner, rows: list[dict[str, Any]]) -> torch.Tensor:
    with torch.no_grad():
        inputs = {name: torch.from_numpy(array) for name, array in RowReader(one.spec).batch(rows).tensors.items()}
        return one.module.eval().predict(inputs)


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_fields_are_renamed_and_dropped_on_a_live_model(task: str) -> None:
    whole = spec(task, recipe={"strategy": "experts"})
    one, past = Learner.create(whole, seed=3), items(120, whole)
    for first in range(0, 120, 12):
        one.learn(past[first : first + 12], range(first + 1, first + 13), Plan(1, publish=True, version=2))
    row = rows_and_values(1, 5)[0][0]
    before = answers_of(one, [row, {**row, "c": None}])
    edited = apply_all([*map(EDITS.parse, (RENAME, DROP))], one.course.state.model)
    assert not edited.keeps_function and apply_all([EDITS.parse(RENAME)], one.course.state.model).keeps_function
    one.course.replace(edited)
    new_name = {("size" if name == "n" else name): value for name, value in row.items()}
    after = answers_of(one, [row, new_name, {**new_name, "c": None}])
    assert torch.equal(after[0], after[1]), "the former name is still read"
    torch.testing.assert_close(after[2], before[1])
    torch.testing.assert_close(after[1], after[2])
    result = one.learn(past[:12], range(121, 133), Plan(1, publish=True, version=3))
    assert not result.rejected, "rows of the log that were written under the former name are learned"
    assert one.digest() == restored(one).digest()


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        ({"type": "rename_field", "field": "q", "to": "z"}, "there is no field 'q'"),
        ({"type": "rename_field", "field": "n", "to": "c"}, "two fields go by the name 'c'"),
        ({"type": "drop_field", "field": "q"}, "there is no field 'q'"),
    ],
)
def test_an_edit_of_fields_that_does_not_fit_says_why(edit: dict[str, Any], reason: str) -> None:
    one = Learner.create(spec(), seed=3)
    with pytest.raises(InvalidInput, match=reason):
        apply_all([EDITS.parse(edit)], one.course.state.model)
    tensors = Learner.create(spec(inputs={"shape": [2]}), seed=3)
    with pytest.raises(InvalidInput, match="the model takes tensors"):
        apply_all([EDITS.parse(edit)], tensors.course.state.model)
