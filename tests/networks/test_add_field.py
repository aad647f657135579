"""A field that is added to a live model: rows without it are answered as before, and it is learned from then on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn

from driftline.errors import InvalidInput
from driftline.ingest.rows import RowReader
from driftline.learning.learner import Learner
from driftline.learning.training.experts.regression import RegressionLearner
from driftline.learning.training.strategies.experts import ExpertsRuntime
from driftline.networks.edits import apply_all
from driftline.networks.experts.mixture import Mixture
from driftline.networks.experts.regression import RegressionMixture
from driftline.networks.model import Model
from driftline.records import Item, Plan
from driftline.spec import ModelSpec, parse
from driftline.spec.parts.edits import EDITS
from tests.learning.conftest import assert_same, restored

KINDS: dict[str, Any] = {
    "number": "number",
    "boolean": "boolean",
    "category": "category",
    "short": {"type": "category", "embedding": 3},
    "none": {"type": "category", "embedding": 0},
    "time": "time",
    "text": "text",
    "tensor": {"type": "tensor", "shape": [2, 3]},
    "ignore": "ignore",
}
NETWORKS: list[Any] = [
    {"preset": "mlp", "hidden": [5]},
    {"layers": []},
    {"layers": [{"type": "dropout"}, {"type": "batch_norm"}, {"type": "linear", "features": 4}, {"type": "relu"}]},
    {
        "layers": [{"type": "linear", "features": 4}],
        "branches": {"branch1": [], "branch2": [{"type": "linear", "features": 3}]},
    },
]
FACTORY = "tests.networks.test_add_field:of_two_numbers"


def of_two_numbers() -> nn.Module:
    return nn.Linear(2, 2)


def value(kind: str, random: np.random.Generator) -> Any:
    if random.random() < 0.2:
        return None
    match kind:
        case "number":
            return float(random.normal(5, 2))
        case "boolean":
            return bool(random.random() < 0.5)
        case "time":
            return 1.7e9 + float(random.integers(10**7))
        case "text":
            return str(random.choice(["a rude word", "a kind one", "neither"]))
        case "tensor":
            return random.normal(size=(2, 3)).tolist()
    return f"value {random.integers(12)}"


def rows_of(fields: dict[str, str], count: int, seed: int) -> list[dict[str, Any]]:
    random = np.random.default_rng(seed)
    return [{name: value(kind, random) for name, kind in fields.items()} for _ in range(count)]


def learned(
    kinds: list[str], network: Any, task: str, strategy: str | None, seed: int = 0
) -> tuple[Learner, dict[str, str]]:
    """A learner that has learned some rows of fields of these kinds, and the kinds by name."""
    fields = {f"{kind} {number}": kind for number, kind in enumerate(kinds)}
    recipe: dict[str, Any] = {"strategy": strategy} if strategy else {}
    described: dict[str, Any] = {
        "name": "m",
        "task": task,
        "inputs": {"fields": {name: KINDS[kind] for name, kind in fields.items()}},
        "network": network,
        "recipe": {**recipe, "input_detector": {}, "on_alarm": "shorten"},
        **({"classes": ["no", "yes"]} if task == "classification" else {}),
    }
    one = Learner.create(parse(ModelSpec, described), seed=seed)
    teach(one, rows_of(fields, 60, seed), 1)
    return one, fields


def teach(one: Learner, rows: list[dict[str, Any]], first: int) -> None:
    batch, random = RowReader(one.spec).batch(rows), np.random.default_rng(first)
    labels: list[Any] = ["yes" if random.random() < 0.4 else "no" for _ in rows]
    if one.spec.task == "regression":
        labels = random.normal(size=len(rows)).tolist()
    for start in range(0, len(rows), 12):
        numbers = range(start, min(start + 12, len(rows)))
        items = [Item(f"i{first + n}", batch.item(n), labels[n]) for n in numbers]
        result = one.learn(items, [first + n for n in numbers], Plan(1, publish=True, version=first + start + 1))
        assert not result.rejected and not result.quarantined


def answers(model: Model, rows: list[dict[str, Any]]) -> torch.Tensor:
    with torch.no_grad():
        return model.module.eval().predict(coded(model, rows))


def assert_same_answers(
    model: Model, rows: dict[str, torch.Tensor], other: Model, others: dict[str, torch.Tensor]
) -> None:
    """All members answer alike, but neighbours that are equally far: there the rounding of a sum decides who votes."""
    with torch.no_grad():
        (one, trace), (two, of_other) = model.module.eval().traced(rows), other.module.eval().traced(others)
    if trace is None or of_other is None:
        torch.testing.assert_close(two, one, rtol=1e-4, atol=1e-5)
        return
    experts = model.module.experts
    if isinstance(experts, Mixture):
        first = (experts.trees is not None) + experts.ridge.members + experts.bank.members
    else:
        assert isinstance(experts, RegressionMixture)
        has_autoregressive = experts.autoregressive is not None
        first = 2 * has_autoregressive + experts.levels.members + experts.encoded.members + experts.bank.members
    last = first + experts.neighbours.members
    rest = [*range(first), *range(last, trace.shape[1])]
    torch.testing.assert_close(of_other[:, rest], trace[:, rest], rtol=1e-4, atol=1e-4, equal_nan=True)
    is_same = torch.isclose(of_other[:, first:last], trace[:, first:last], rtol=1e-4, atol=1e-4, equal_nan=True)
    rows_alike = is_same.flatten(1).all(1)
    torch.testing.assert_close(two[rows_alike], one[rows_alike], rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(two, one, rtol=0, atol=0.1)


def coded(model: Model, rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(array) for name, array in RowReader(model.spec).batch(rows).tensors.items()}


def added(model: Model, kind: str, name: str = "new") -> Model:
    result = apply_all([EDITS.parse({"type": "add_field", "name": name, "field": KINDS[kind]})], model)
    assert result.keeps_function
    return result.model


@settings(max_examples=12)
@given(
    st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=5).filter(
        lambda kinds: {*kinds} - {"ignore", "tensor"}
    ),
    st.sampled_from(sorted(KINDS)),
    st.sampled_from(NETWORKS),
    st.sampled_from(
        [("classification", None), ("classification", "replay"), ("regression", None), ("regression", "replay")]
    ),
    st.integers(0, 9),
)
@example(
    ["tensor", "text", "time", "text", "text"], "text", {"preset": "mlp", "hidden": [5]}, ("classification", None), 0
)
def test_rows_without_a_new_field_are_answered_as_before(
    kinds: list[str], new: str, network: Any, task_and_strategy: tuple[str, str | None], seed: int
) -> None:
    one, fields = learned(kinds, network, *task_and_strategy, seed)
    model, rows = one.course.state.model, rows_of(fields, 8, seed + 1)
    wider = added(model, new)
    again = added(wider, "number", "one more")
    assert all(
        bool(value.isfinite().all()) for value in again.module.state_dict().values() if value.is_floating_point()
    )
    before, after = coded(model, rows), coded(again, rows)
    assert_same_answers(model, before, wider, coded(wider, rows))
    assert_same_answers(model, before, again, after)
    # Rows that wait, or are kept, were coded before; and a former version may be given rows that were coded after.
    assert_same_answers(again, after, again, before)
    assert_same_answers(model, before, model, after)


def retrained(one: Learner, edits: list[dict[str, Any]], meanwhile: list[dict[str, Any]], first: int) -> None:
    """Runs a job with edits beside the stream, and goes on with it."""
    one.retrain("job", {}, edits, 1, [])
    assert one.retraining is not None
    one.retraining.advance(5)
    teach(one, meanwhile, first)
    assert one.retraining is not None, "the job goes on"
    decision = one.finish(1000 + first, is_promoted=True).decision
    assert decision is not None and decision.promoted


@settings(max_examples=6)
@given(
    st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=4).filter(
        lambda kinds: {*kinds} - {"ignore", "tensor"}
    ),
    st.sampled_from(sorted(KINDS)),
    st.sampled_from(NETWORKS),
    st.sampled_from(
        [("classification", None), ("classification", "replay"), ("regression", None), ("regression", "replay")]
    ),
)
def test_a_job_with_a_new_field_goes_on_from_its_state_and_back(
    kinds: list[str], new: str, network: Any, task_and_strategy: tuple[str, str | None]
) -> None:
    one, fields = learned(kinds, network, *task_and_strategy)
    before = one.course.state.model
    weights = {name: value.clone() for name, value in before.module.state_dict().items()}
    edits = [{"type": "rename_field", "field": next(iter(fields)), "to": "other"}]
    edits += [{"type": "add_field", "name": "new", "field": KINDS[new]}]
    retrained(one, edits, rows_of(fields, 20, 3), 61)
    wider = fields | {"new": new}
    assert [*one.spec.inputs.fields] == ["other", *[*wider][1:]]  # type: ignore[union-attr]
    teach(one, rows_of(wider, 20, 4), 81)
    other = restored(one)
    for each in (one, other):
        teach(each, rows_of(wider, 20, 5), 101)
    assert one.digest() == other.digest()
    assert_same(one.state_dict(), other.state_dict())
    one.rollback(before.spec, before.classes, weights, 2000)
    teach(one, rows_of(fields, 20, 6), 121)
    assert one.digest() == restored(one).digest()
    # Another field in its place is none of what was known of the former one.
    retrained(one, [{"type": "add_field", "name": "another", "field": KINDS[new]}], rows_of(fields, 10, 7), 141)
    teach(one, rows_of(fields | {"another": new}, 10, 8), 151)
    one.rollback(other.spec, other.classes, other.module.state_dict(), 3000)
    teach(one, rows_of(wider, 10, 9), 161)
    assert one.digest() == restored(one).digest()


def told_by(kind: str, label: bool, random: np.random.Generator) -> Any:
    """A value of a field that tells the class."""
    match kind:
        case "number":
            return 50 + 10 * label + float(random.normal())
        case "text":
            return "good news" if label else "bad news"
        case "time":
            return 1.7e9 + 3600 * (4 + 12 * label) + 86400 * float(random.integers(7))
        case "tensor":
            return [[float(label), 0.5, 0.1]] * 2
        case "category":
            return f"{'a' if label else 'b'}{random.integers(3)}"
    return label


@pytest.mark.parametrize(
    ("new", "strategy"),
    [*((kind, None) for kind in ("number", "category", "boolean", "text", "time", "tensor")), ("category", "replay")],
)
def test_a_new_field_is_learned(new: str, strategy: str | None) -> None:
    one, fields = learned(["number", "category"], NETWORKS[0], "classification", strategy)
    retrained(one, [{"type": "add_field", "name": "new", "field": KINDS[new]}], rows_of(fields, 6, 3), 61)
    random, right = np.random.default_rng(0), []
    for first in range(101, 301, 10):
        labels = [bool(random.random() < 0.5) for _ in range(10)]
        rows = [
            row | {"new": told_by(new, label, random)}
            for row, label in zip(rows_of(fields, 10, first), labels, strict=True)
        ]
        right.append(
            ((answers(one.course.state.model, rows)[:, 1] > 0.5) == torch.tensor(labels)).float().mean().item()
        )
        batch = RowReader(one.spec).batch(rows)
        items = [Item(f"i{first + n}", batch.item(n), "yes" if label else "no") for n, label in enumerate(labels)]
        one.learn(items, range(first, first + 10), Plan(5, publish=True, version=first + 2000))
    assert np.mean(right[-10:]) > 0.9, np.round(right, 1)


@pytest.mark.parametrize(
    ("field", "name", "network", "inputs", "reason"),
    [
        ("number", "a", {}, {"a": "number"}, "there is a field 'a' already"),
        ("number", "b", {}, {"a": {"type": "number", "aliases": ["b"]}}, "two fields go by the name 'b'"),
        (
            "category",
            "gone",
            {},
            {"a": "number", "gone": {"type": "number", "dropped": True}},
            "is a number, and as such",
        ),
        (
            "number",
            "b",
            {"layers": [{"type": "layer_norm"}]},
            {"a": "number"},
            "'layer_norm1' .LayerNorm. does not take",
        ),
        ("number", "b", {"factory": FACTORY}, {"a": "number"}, "made by tests.*, whose inputs are its own"),
        (
            "number",
            "b",
            {"preset": "cnn"},
            {"a": {"type": "tensor", "shape": [8, 8]}},
            "a single tensor, of shape .8, 8.",
        ),
        ({"type": "tensor", "shape": [5000]}, "b", {}, {"a": "number"}, "cannot go on with 5002"),
    ],
)
def test_a_field_that_cannot_be_added_says_why(field: Any, name: str, network: Any, inputs: Any, reason: str) -> None:
    described: dict[str, Any] = {"name": "m", "task": "classification", "classes": ["no", "yes"]}
    whole = parse(ModelSpec, described | {"inputs": {"fields": inputs}, **({"network": network} if network else {})})
    one = Learner.create(whole, seed=1, factories=[FACTORY])
    with pytest.raises(InvalidInput, match=reason):
        apply_all([EDITS.parse({"type": "add_field", "name": name, "field": field})], one.course.state.model)


def test_a_field_that_was_dropped_is_read_again() -> None:
    one, fields = learned(["number", "category"], NETWORKS[0], "classification", None)
    model, rows = one.course.state.model, rows_of(fields, 8, 1)
    edits = [{"type": "drop_field", "field": "number 0"}, {"type": "add_field", "name": "number 0", "field": "number"}]
    again = apply_all([*map(EDITS.parse, edits)], model).model
    torch.testing.assert_close(answers(again, rows), answers(model, rows))


def test_a_regression_goes_on_with_what_its_experts_know_and_learns_the_new_field() -> None:
    one, fields = learned(["number", "number"], NETWORKS[0], "regression", None)
    model = one.course.state.model
    assert isinstance(model.module.experts, RegressionMixture)
    before = model.module.experts
    retrained(one, [{"type": "add_field", "name": "new", "field": "number"}], rows_of(fields, 6, 3), 61)
    mixture = one.course.module.experts
    assert isinstance(mixture, RegressionMixture) and mixture.features > before.features
    assert isinstance(one.course.strategy, ExpertsRuntime) and isinstance(
        one.course.strategy.mixture, RegressionLearner
    )
    assert one.course.strategy.mixture.scored >= 50, "what the members' errors were is known still"
    random, errors = np.random.default_rng(0), []
    for first in range(101, 501, 10):
        told = random.normal(size=10)
        rows = [row | {"new": float(told[n])} for n, row in enumerate(rows_of(fields, 10, first))]
        errors.append(float((answers(one.course.state.model, rows)[:, 0] - torch.tensor(told)).abs().mean()))
        batch = RowReader(one.spec).batch(rows)
        items = [Item(f"i{first + n}", batch.item(n), float(told[n])) for n in range(10)]
        one.learn(items, range(first, first + 10), Plan(5, publish=True, version=first + 2000))
    assert np.mean(errors[-10:]) < 0.2, np.round(errors, 2)


def test_a_regression_whose_rows_become_too_wide_for_some_experts_relies_on_its_network() -> None:
    one, fields = learned(["number"] * 42, {"layers": []}, "regression", None)
    model, rows = one.course.state.model, rows_of(fields, 8, 1)
    wider = added(model, "number")
    experts, before = wider.module.experts, model.module.experts
    assert isinstance(experts, RegressionMixture) and isinstance(before, RegressionMixture)
    assert not experts.has_members_of(before)
    with torch.no_grad():
        own = wider.module.eval().traced(coded(wider, rows))
    assert own[1] is not None
    network = own[1][:, experts.members - 1]
    torch.testing.assert_close(own[0], network)
