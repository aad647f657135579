"""A network of a user's own is tried out before a model of it is made: each fault is one sentence."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from driftline.errors import InvalidInput
from driftline.learning.learner import Learner
from driftline.learning.network_trial import check_network
from driftline.networks.model import Model
from driftline.spec import ModelSpec, parse
from tests.networks.own_networks import FACTORIES, SHARED, WAYS

PLACE = "tests.networks.own_networks"


def model(factory: str, **changes: Any) -> Model:
    spec = {
        "name": "m",
        "task": "classification",
        "classes": [0, 1, 2, 3],
        "inputs": {"shape": [4]},
        "network": {"factory": f"{PLACE}:{factory.partition(' ')[0]}", "arguments": {}, "output": "own"},
    }
    parsed = parse(ModelSpec, spec | changes)
    learner = Learner.create(parsed, seed=1, factories=FACTORIES)
    return Model(learner.spec, learner.classes, learner.module)


def brought(factory: str, way: str, **changes: Any) -> Model:
    network = {"factory": f"{PLACE}:{factory}", "arguments": {"way": way}, "output": "own"}
    return model(factory, **{"network": network} | changes)


def problems(found: Model) -> list[str]:
    with pytest.raises(InvalidInput) as refused:
        check_network(found, FACTORIES)
    assert (refused.value.code, refused.value.details["field"]) == ("network_unfit", "network")
    told: list[str] = refused.value.details["problems"]
    assert all(problem in refused.value.message for problem in told)
    return told


FAULTS = {
    "flattened": "for a batch of 8 rows it gives numbers of the shape [1, 4], not [8, 4]",
    "one row only": "on a batch of 8 rows it fails: RuntimeError: shape '[1, 4]' is invalid for input of size 32",
    "infinite": "its answers are not finite numbers",
    "random": "in evaluation it answers the same rows otherwise each time",
    "batch mates": "its answer to a row depends on the other rows of the batch",
    "unregistered": "written to a file and read again it answers otherwise",
    "untrainable": "a step of training changes nothing",
    "fails in training": "a step of training fails: RuntimeError: mat1 and mat2 shapes cannot be multiplied (8x2 and 4x4)",
}


@pytest.mark.parametrize("way", FAULTS)
def test_what_is_wrong_is_told_in_a_sentence(way: str) -> None:
    (told,) = problems(brought("called", way))
    assert told.startswith(FAULTS[way])


def test_every_way_of_being_wrong_is_tried() -> None:
    assert set(FAULTS) | {"good", "squeezed", "batch mates in evaluation, and fails in training"} == set(WAYS)


def test_a_network_that_loses_the_dimension_of_its_rows_is_not_built() -> None:
    with pytest.raises(
        InvalidInput, match=r"for one row it gives numbers of the shape \[4\], whose first dimension is not"
    ):
        brought("called", "squeezed")


def test_several_faults_are_several_sentences() -> None:
    told = problems(brought("called", "batch mates in evaluation, and fails in training"))
    assert [sentence[:8] for sentence in told] == ["its answ", "a step o"]


def test_a_network_that_is_frozen_as_a_whole_is_refused() -> None:
    with pytest.raises(InvalidInput, match="network: all its weights are frozen"):
        brought("called", "frozen")


@pytest.mark.parametrize(
    ("factory", "way"), [("called", "good"), *(("shared", way) for way in SHARED)], ids=lambda value: value
)
def test_a_good_network_stays_as_it_is(factory: str, way: str) -> None:
    found = brought(factory, way)
    before = {name: value.clone() for name, value in found.module.state_dict().items()}
    drawn = torch.get_rng_state()
    check_network(found, FACTORIES)
    assert torch.equal(torch.get_rng_state(), drawn)
    assert all(torch.equal(value, before[name]) for name, value in found.module.state_dict().items())


def test_a_loss_of_ones_own_is_tried_too() -> None:
    loss = "tests.learning.functions:raising"
    found = {"recipe": {"loss": {"name": "custom", "function": loss}}, "network": {"layers": []}}
    parsed = parse(
        ModelSpec,
        {"name": "m", "task": "classification", "classes": [0, 1], "inputs": {"shape": [4]}} | found,
    )
    learner = Learner.create(parsed, seed=1, factories=[loss])
    with pytest.raises(InvalidInput, match="a step of training fails: ValueError: no loss today"):
        check_network(Model(parsed, learner.classes, learner.module), [loss])
