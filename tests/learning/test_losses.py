"""Every loss is what its definition says, row by row, and its gradient is finite."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from driftline.learning.losses import LOSSES
from tests.learning.conftest import spec

EXTREMES = [0.0, -0.0, 1e-30, 1.0, -1.0, 88.0, -104.0, 1e4, -1e4, 1e9, -1e9]
NUMBERS = st.one_of(st.sampled_from(EXTREMES), st.floats(-100, 100, width=32))


def arguments(name: str, rows: list[list[float]], labels: list[int], values: list[float]) -> tuple[Tensor, Tensor]:
    """Outputs that need a gradient, and targets, as the tasks of a loss have them."""
    outputs = torch.tensor(rows, dtype=torch.float32)
    if "classification" in LOSSES.get(name).tasks:
        return outputs.requires_grad_(), torch.tensor(labels)
    return outputs[:, :1].clone().requires_grad_(), torch.tensor(values, dtype=torch.float32)


@pytest.mark.parametrize("name", LOSSES.parts)
@given(st.data())
@settings(deadline=None, max_examples=25, derandomize=True)
def test_it_is_finite_for_finite_outputs_and_so_is_its_gradient(name: str, data: st.DataObject) -> None:
    classes, batch = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 4))
    rows = data.draw(st.lists(st.lists(NUMBERS, min_size=classes, max_size=classes), min_size=batch, max_size=batch))
    labels = data.draw(st.lists(st.integers(0, classes - 1), min_size=batch, max_size=batch))
    values = data.draw(st.lists(NUMBERS, min_size=batch, max_size=batch))
    outputs, targets = arguments(name, rows, labels, values)
    losses = LOSSES.parse(name)(outputs, targets)
    assert losses.shape == (batch,)
    assert bool(torch.isfinite(losses).all()) and bool((losses >= 0).all())
    losses.sum().backward()  # type: ignore[no-untyped-call]
    assert outputs.grad is not None and bool(torch.isfinite(outputs.grad).all())


@pytest.mark.parametrize("name", LOSSES.parts)
def test_rows_do_not_mix(name: str) -> None:
    outputs, targets = arguments(name, [[0.5, 2.0], [-1.0, 1.5], [3.0, 0.0]], [0, 1, 1], [1.0, -4.0, 2.5])
    loss = LOSSES.parse(name)
    alone = [loss(outputs[n : n + 1], targets[n : n + 1]).item() for n in range(3)]
    assert loss(outputs, targets).tolist() == pytest.approx(alone)


@pytest.mark.parametrize("name", LOSSES.parts)
def test_a_step_against_the_gradient_makes_it_smaller(name: str) -> None:
    outputs, targets = arguments(name, [[0.5, 2.0], [-1.0, 1.5]], [0, 1], [1.0, -4.0])
    loss = LOSSES.parse(name)
    before = loss(outputs, targets).sum()
    before.backward()
    with torch.no_grad():
        assert outputs.grad is not None
        assert loss(outputs - 0.05 * outputs.grad, targets).sum() < before


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_the_gradient_of_a_row_that_is_sure_is_finite(gamma: float) -> None:
    outputs = torch.tensor([[0.0, 40.0], [0.0, 200.0], [0.0, -200.0]], requires_grad=True)
    losses = LOSSES.parse({"name": "focal", "gamma": gamma})(outputs, torch.tensor([1, 1, 1]))
    losses.sum().backward()
    assert losses[:2].tolist() == pytest.approx([0, 0], abs=1e-12)
    assert outputs.grad is not None and bool(torch.isfinite(outputs.grad).all())


LOGITS = [[2.0, 0.0, -1.0], [0.5, 0.5, 0.5]]


def probabilities(row: list[float]) -> list[float]:
    total = sum(map(math.exp, row))
    return [math.exp(value) / total for value in row]


def test_cross_entropy_is_the_surprise() -> None:
    losses = LOSSES.parse("cross_entropy")(torch.tensor(LOGITS), torch.tensor([1, 2]))
    assert losses.tolist() == pytest.approx([-math.log(probabilities(LOGITS[0])[1]), math.log(3)])


def test_smoothing_gives_every_class_a_share() -> None:
    losses = LOSSES.parse({"name": "cross_entropy", "smoothing": 0.3})(torch.tensor(LOGITS), torch.tensor([1, 2]))
    share = [0.1, 0.8, 0.1]
    expected = -sum(part * math.log(p) for part, p in zip(share, probabilities(LOGITS[0]), strict=True))
    assert losses.tolist() == pytest.approx([expected, math.log(3)])


def test_focal_loss_counts_what_is_easy_less() -> None:
    losses = LOSSES.parse({"name": "focal", "gamma": 3.0})(torch.tensor(LOGITS), torch.tensor([0, 1]))
    easy = probabilities(LOGITS[0])[0]
    assert losses.tolist() == pytest.approx([-((1 - easy) ** 3) * math.log(easy), (2 / 3) ** 3 * math.log(3)])
    plain = LOSSES.parse({"name": "focal", "gamma": 0.0})(torch.tensor(LOGITS), torch.tensor([0, 1]))
    assert plain.tolist() == pytest.approx([-math.log(easy), math.log(3)])


@pytest.mark.parametrize(
    ("loss", "expected"),
    [("mse", [0.25, 9.0]), ("mae", [0.5, 3.0]), ("huber", [0.125, 2.5]), ({"name": "huber", "delta": 2.0}, [0.125, 4])],
)
def test_the_losses_of_a_regression(loss: object, expected: list[float]) -> None:
    losses = LOSSES.parse(loss)(torch.tensor([[1.5], [-1.0]]), torch.tensor([1.0, 2.0]))
    assert losses.tolist() == pytest.approx(expected)


@pytest.mark.parametrize("name", LOSSES.parts)
def test_a_loss_is_taken_by_its_own_tasks_only(name: str) -> None:
    for task, classes in (("classification", [0, 1]), ("regression", None)):
        if task in LOSSES.get(name).tasks:
            assert spec(task=task, classes=classes, recipe={"loss": name}).loss.name == name
        else:
            with pytest.raises(Exception, match=f"the loss {name} is not for {task}"):
                spec(task=task, classes=classes, recipe={"loss": name})
