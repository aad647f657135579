"""Every loss is what its definition says, row by row, and its gradient is finite."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from driftline.errors import InvalidInput
from driftline.learning.training.losses import LossFunction, loss_function
from driftline.learning.training.losses.class_balanced import ClassBalancedLoss
from driftline.learning.training.losses.custom import LossFailed
from driftline.spec.parts.losses import LOSSES, ClassBalanced
from tests.learning.conftest import spec

EXTREMES = [0.0, -0.0, 1e-30, 1.0, -1.0, 88.0, -104.0, 1e4, -1e4, 1e9, -1e9]
NUMBERS = st.one_of(st.sampled_from(EXTREMES), st.floats(-100, 100, width=32))


FUNCTIONS = "tests.learning.functions"
NONE = torch.zeros(0, dtype=torch.int64)


def made(given: object) -> LossFunction[Any]:
    return loss_function(LOSSES.parse(given))


def of(name: str) -> LossFunction[Any]:
    """A loss of the registry; the one of a user's own is a function of the tests."""
    own = {"name": "custom", "function": f"{FUNCTIONS}:cross_entropy"}
    return made(own if name == "custom" else name)


def counted(outputs: Tensor, targets: Tensor) -> Tensor:
    """Counts as a train state has them: every label was seen, and classes may be that were not."""
    return torch.bincount(targets, minlength=outputs.shape[1]) if targets.dtype == torch.int64 else NONE


def arguments(name: str, rows: list[list[float]], labels: list[int], values: list[float]) -> tuple[Tensor, Tensor]:
    """Outputs that need a gradient, and targets, as the tasks of a loss have them."""
    outputs = torch.tensor(rows, dtype=torch.float32)
    if "classification" in LOSSES.get(name).tasks:
        return outputs.requires_grad_(), torch.tensor(labels)
    return outputs[:, :1].clone().requires_grad_(), torch.tensor(values, dtype=torch.float32)


@pytest.mark.parametrize("name", LOSSES.parts)
@given(st.data())
@settings(max_examples=25)
def test_it_is_finite_for_finite_outputs_and_so_is_its_gradient(name: str, data: st.DataObject) -> None:
    classes, batch = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 4))
    rows = data.draw(st.lists(st.lists(NUMBERS, min_size=classes, max_size=classes), min_size=batch, max_size=batch))
    labels = data.draw(st.lists(st.integers(0, classes - 1), min_size=batch, max_size=batch))
    values = data.draw(st.lists(NUMBERS, min_size=batch, max_size=batch))
    outputs, targets = arguments(name, rows, labels, values)
    losses = of(name)(outputs, targets, counted(outputs, targets))
    assert losses.shape == (batch,)
    assert bool(torch.isfinite(losses).all()) and bool((losses >= 0).all())
    losses.sum().backward()
    assert outputs.grad is not None and bool(torch.isfinite(outputs.grad).all())


@pytest.mark.parametrize("name", LOSSES.parts)
def test_rows_do_not_mix(name: str) -> None:
    outputs, targets = arguments(name, [[0.5, 2.0], [-1.0, 1.5], [3.0, 0.0]], [0, 1, 1], [1.0, -4.0, 2.5])
    loss, counts = of(name), counted(outputs, targets)
    alone = [loss(outputs[n : n + 1], targets[n : n + 1], counts).item() for n in range(3)]
    assert loss(outputs, targets, counts).tolist() == pytest.approx(alone)


@pytest.mark.parametrize("name", LOSSES.parts)
def test_a_step_against_the_gradient_makes_it_smaller(name: str) -> None:
    outputs, targets = arguments(name, [[0.5, 2.0], [-1.0, 1.5]], [0, 1], [1.0, -4.0])
    loss, counts = of(name), counted(outputs, targets)
    before = loss(outputs, targets, counts).sum()
    before.backward()
    with torch.no_grad():
        assert outputs.grad is not None
        assert loss(outputs - 0.05 * outputs.grad, targets, counts).sum() < before


@pytest.mark.parametrize("name", [name for name in LOSSES.parts if "classification" in LOSSES.get(name).tasks])
def test_a_thousand_classes_are_learned(name: str) -> None:
    logits = torch.zeros(1000, 1000, requires_grad=True)
    labels = torch.arange(1000)
    for _ in range(30):
        losses = of(name)(logits, labels, torch.ones(1000, dtype=torch.int64))
        (gradient,) = torch.autograd.grad(losses.sum(), logits)
        logits = (logits - gradient).detach().requires_grad_()
    assert bool((logits.argmax(1) == labels).all())


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_the_gradient_of_a_row_that_is_sure_is_finite(gamma: float) -> None:
    outputs = torch.tensor([[0.0, 40.0], [0.0, 200.0], [0.0, -200.0]], requires_grad=True)
    losses = made({"name": "focal", "gamma": gamma})(outputs, torch.tensor([1, 1, 1]), NONE)
    losses.sum().backward()
    assert losses[:2].tolist() == pytest.approx([0, 0], abs=1e-12)
    assert outputs.grad is not None and bool(torch.isfinite(outputs.grad).all())


LOGITS = [[2.0, 0.0, -1.0], [0.5, 0.5, 0.5]]


def probabilities(row: list[float]) -> list[float]:
    total = sum(map(math.exp, row))
    return [math.exp(value) / total for value in row]


def test_cross_entropy_is_the_surprise() -> None:
    losses = made("cross_entropy")(torch.tensor(LOGITS), torch.tensor([1, 2]), NONE)
    assert losses.tolist() == pytest.approx([-math.log(probabilities(LOGITS[0])[1]), math.log(3)])


def test_smoothing_gives_every_class_a_share() -> None:
    losses = made({"name": "cross_entropy", "smoothing": 0.3})(torch.tensor(LOGITS), torch.tensor([1, 2]), NONE)
    share = [0.1, 0.8, 0.1]
    expected = -sum(part * math.log(p) for part, p in zip(share, probabilities(LOGITS[0]), strict=True))
    assert losses.tolist() == pytest.approx([expected, math.log(3)])


def test_focal_loss_counts_what_is_easy_less() -> None:
    losses = made({"name": "focal", "gamma": 3.0})(torch.tensor(LOGITS), torch.tensor([0, 1]), NONE)
    easy = probabilities(LOGITS[0])[0]
    assert losses.tolist() == pytest.approx([-((1 - easy) ** 3) * math.log(easy), (2 / 3) ** 3 * math.log(3)])
    plain = made({"name": "focal", "gamma": 0.0})(torch.tensor(LOGITS), torch.tensor([0, 1]), NONE)
    assert plain.tolist() == pytest.approx([-math.log(easy), math.log(3)])


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        ("mse", [0.25, 9.0]),
        ("mae", [0.5, 3.0]),
        ("huber", [0.125, 2.5]),
        ({"name": "huber", "delta": 2.0}, [0.125, 4]),
        ("quantile", [0.25, 1.5]),
        ({"name": "quantile", "quantile": 0.9}, [0.05, 2.7]),
    ],
)
def test_the_losses_of_a_regression(loss: object, expected: list[float]) -> None:
    losses = made(loss)(torch.tensor([[1.5], [-1.0]]), torch.tensor([1.0, 2.0]), NONE)
    assert losses.tolist() == pytest.approx(expected)


def near(losses: Tensor, expected: list[float]) -> None:
    assert losses.tolist() == pytest.approx(expected, rel=1e-5)


def test_weights_are_those_of_the_classes_and_1_for_those_after_the_last() -> None:
    losses = made({"name": "cross_entropy", "weights": [5.0, 0.5]})(torch.tensor(LOGITS), torch.tensor([1, 2]), NONE)
    near(losses, [-0.5 * math.log(probabilities(LOGITS[0])[1]), math.log(3)])


def test_there_are_no_more_weights_than_classes() -> None:
    recipe = {"loss": {"name": "cross_entropy", "weights": [1, 2, 3]}}
    spec(classes=[0, 1, 2], recipe=recipe)
    with pytest.raises(InvalidInput, match=r"recipe\.loss\.weights: there are 3 weights for 2 classes"):
        spec(recipe=recipe)


def test_class_balanced_weights_are_those_of_effective_numbers() -> None:
    counts, beta = torch.tensor([1000, 10, 0]), 0.99
    effective = [(1 - beta**n) / (1 - beta) for n in (1000, 10)]
    mean = (1 / effective[0] + 1 / effective[1]) / 2
    near(
        ClassBalancedLoss(ClassBalanced(beta=beta)).weights(counts),
        [1 / effective[0] / mean, 1 / effective[1] / mean, 1 / mean],
    )
    near(ClassBalancedLoss(ClassBalanced(beta=0)).weights(counts), [1, 1, 1])
    losses = made({"name": "class_balanced", "beta": beta})(torch.tensor(LOGITS), torch.tensor([1, 0]), counts)
    surprise = [-math.log(probabilities(LOGITS[0])[1]), math.log(3)]
    near(losses, [surprise[0] / effective[1] / mean, surprise[1] / effective[0] / mean])


def test_logit_adjustment_adds_the_prior() -> None:
    counts = torch.tensor([97, 2, 0])
    losses = made({"name": "logit_adjusted", "temperature": 0.5})(torch.tensor(LOGITS), torch.tensor([1, 2]), counts)
    priors = [98 / 102, 3 / 102, 1 / 102]
    moved = [[value + 0.5 * math.log(prior) for value, prior in zip(row, priors, strict=True)] for row in LOGITS]
    near(losses, [-math.log(probabilities(moved[0])[1]), -math.log(probabilities(moved[1])[2])])


def test_generalized_cross_entropy_stands_between_cross_entropy_and_the_absolute_error() -> None:
    outputs, targets = torch.tensor(LOGITS), torch.tensor([0, 1])
    shares = [probabilities(LOGITS[0])[0], 1 / 3]
    near(made("generalized_cross_entropy")(outputs, targets, NONE), [(1 - p**0.7) / 0.7 for p in shares])
    near(made({"name": "generalized_cross_entropy", "q": 1})(outputs, targets, NONE), [1 - p for p in shares])


def test_symmetric_cross_entropy_adds_the_reverse() -> None:
    losses = made({"name": "symmetric_cross_entropy", "alpha": 0.5, "beta": 2})(
        torch.tensor(LOGITS), torch.tensor([0, 1]), NONE
    )
    shares = [probabilities(LOGITS[0])[0], 1 / 3]
    near(losses, [-0.5 * math.log(p) + 2 * 4 * (1 - p) for p in shares])


def test_hinge_is_what_is_missing_of_the_margin() -> None:
    losses = made("hinge")(torch.tensor([*LOGITS, [3.0, 5.0, 0.0]]), torch.tensor([0, 1, 0]), NONE)
    near(losses, [0, 1, 3])


def test_bce_is_one_classifier_for_each_class() -> None:
    (loss,) = made("bce")(torch.tensor(LOGITS[:1]), torch.tensor([1]), NONE).tolist()
    shares = [1 / (1 + math.exp(-value)) for value in LOGITS[0]]
    assert loss == pytest.approx(-math.log(1 - shares[0]) - math.log(shares[1]) - math.log(1 - shares[2]))


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        ("raising", "ValueError: no loss today"),
        ("mean", f"{FUNCTIONS}:mean gave float where [2] was expected: a loss for each row"),
        ("constant", f"{FUNCTIONS}:constant gave a loss that does not depend on the outputs"),
        ("missing", f"AttributeError: module '{FUNCTIONS}' has no attribute 'missing'"),
    ],
)
def test_a_loss_of_ones_own_that_fails_says_why(function: str, reason: str) -> None:
    loss = made({"name": "custom", "function": f"{FUNCTIONS}:{function}"})
    with pytest.raises(LossFailed) as failure:
        loss(torch.zeros(2, 3, requires_grad=True), torch.tensor([0, 1]), NONE)
    assert failure.value.message == reason


def test_a_loss_of_ones_own_takes_its_arguments() -> None:
    loss = made({"name": "custom", "function": f"{FUNCTIONS}:power", "arguments": {"exponent": 4}})
    near(loss(torch.tensor([[3.0]]), torch.tensor([1.0]), NONE), [16])


@pytest.mark.parametrize("name", LOSSES.parts)
def test_a_loss_is_taken_by_its_own_tasks_only(name: str) -> None:
    given = of(name).parameters.model_dump(mode="json")
    for task, classes in (("classification", [0, 1]), ("regression", None)):
        if task in LOSSES.get(name).tasks:
            assert spec(task=task, classes=classes, recipe={"loss": given}).loss.name == name
        else:
            with pytest.raises(InvalidInput, match=f"the loss {name} is not for {task}"):
                spec(task=task, classes=classes, recipe={"loss": given})
