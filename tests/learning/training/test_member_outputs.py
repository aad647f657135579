"""What the members had said is read as it was served, whatever the versions that answered knew."""

from __future__ import annotations

import msgspec
import torch
from torch import Tensor

from driftline.backtest.replay import predict
from driftline.learning.labelled_batch import LabelledBatch
from driftline.learning.learner import Learner
from driftline.learning.training.member_outputs import member_outputs_of
from driftline.networks.experts.mixture import Mixture
from driftline.networks.experts.traces import UNKNOWN
from driftline.networks.kernels.weights import newest_of
from driftline.records import Answer, Item
from driftline.rows.rows import Rows
from tests.learning.conftest import learner, play, world

NAMES = ["a", "b", "c", "never"]


def answered(one: Learner, items: list[Item], version: int) -> list[Item]:
    """Items as the learner's version answers them now."""
    batch = LabelledBatch.of(one.spec, one.class_table, list(range(len(items))), items)
    rows = Rows({name: tensor.numpy() for name, tensor in batch.examples.inputs.items()})
    outputs, traces = predict(one, rows)
    return [
        msgspec.structs.replace(item, answer=Answer(version, str(item.label), output.tobytes(), trace))
        for item, output, trace in zip(items, outputs, traces, strict=True)
    ]


def outputs_of(one: Learner, items: list[Item], since: int = 0) -> Tensor:
    batch = LabelledBatch.of(one.spec, one.class_table, list(range(len(items))), items)
    return member_outputs_of(batch, one.served, one.module, since)


def test_answers_of_versions_that_had_seen_fewer_classes_are_read_beside_newer_ones() -> None:
    one = learner(classes=NAMES, recipe={"strategy": "experts", "gate": {"mode": "off"}})
    items = world(8, 5000, NAMES[:3])
    first = answered(one, items, 1)
    play(one, [item for item in world(60, names=NAMES[:3]) if item.label != "c"])
    second = answered(one, items, 2)
    play(one, world(60, 1000, NAMES[:3]))
    third = answered(one, items, 3)
    experts = one.module.experts
    assert isinstance(experts, Mixture) and experts.columns.count == 3
    mixed = outputs_of(one, [first[0], second[1], third[2], items[3]])
    assert mixed.shape == (4, experts.parts, 4)
    assert (mixed[0, :, 1:] == UNKNOWN).all() and (mixed[0, :-1, 0] > UNKNOWN).all()
    assert (mixed[1, :, 3] == UNKNOWN).all() and (mixed[1, :-1, :3] > UNKNOWN).all()
    assert (mixed[2:, :-1] > UNKNOWN).all()
    own = outputs_of(one, third)
    assert torch.equal(own[2], mixed[2]) and newest_of(own.numpy()[0]) >= 1
    assert not torch.equal(outputs_of(one, second)[1, :-1, :3], own[1, :-1, :3]), "as it was served"
    now = outputs_of(one, items)
    torch.testing.assert_close(outputs_of(one, second, since=3), now)
