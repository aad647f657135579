"""Mixtures that former releases wrote, with a column for each class and a square of transitions, are read."""

from __future__ import annotations

from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor

from driftline.learning.training.experts.mixture import MixtureLearner
from driftline.networks.experts.labels import MAX_SUCCESSORS, Labels
from driftline.networks.experts.mixture import Mixture
from driftline.networks.experts.old_layout import converted
from driftline.networks.experts.traces import read
from driftline.networks.kernels.weights import newest_of

# What a mixture of 2 features and 3 classes had learned from 90 labels, and what it then answered, as the former code wrote it.
WRITTEN = Path(__file__).parent.parent / "fixtures" / "mixture_with_all_classes.safetensors"


@pytest.fixture(scope="module")
def written() -> dict[str, Tensor]:
    return safetensors.torch.load_file(WRITTEN)


@pytest.fixture
def mixture(written: dict[str, Tensor]) -> Mixture:
    found = Mixture(2, 3, seed=5, one_unit=True, with_network=True)
    found.load_state_dict({name.removeprefix("state."): v for name, v in written.items() if name.startswith("state.")})
    return found


def test_it_answers_as_it_did(written: dict[str, Tensor], mixture: Mixture) -> None:
    rows, network = written["rows"], written["network"]
    logits, trace = mixture(rows, network)
    torch.testing.assert_close(logits, written["logits"])
    torch.testing.assert_close(trace[:, :-1].half(), written["trace"][:, :-1])
    torch.testing.assert_close(mixture(rows, network, in_order=False)[0], written["logits_out_of_order"])


def test_its_traces_are_learned_from(written: dict[str, Tensor], mixture: Mixture) -> None:
    data = [trace.numpy().tobytes() for trace in written["trace"]]
    traces = read(data, mixture.parts, mixture.columns)
    assert traces is not None
    assert [*map(newest_of, traces.numpy())] == written["trace"][:, -1].argmax(1).tolist()
    before = mixture.weights.clone()
    MixtureLearner(mixture).update_mixture_weights(traces, torch.arange(10) % 3)
    assert not torch.equal(mixture.weights, before)


def test_it_learns_a_class_that_it_had_never_seen(written: dict[str, Tensor], mixture: Mixture) -> None:
    learner, rows, generator = MixtureLearner(mixture), written["rows"], torch.Generator().manual_seed(0)
    mixture.add_classes(1)
    for _ in range(10):
        learner.learn(rows, torch.full((10,), 3), torch.ones(10), generator)
    network = torch.full((10, 4), 0.25).log()
    assert (mixture(rows, network)[0].argmax(1) == 3).float().mean() > 0.8


def test_the_present_layout_stays_as_it_is(mixture: Mixture) -> None:
    state = mixture.state_dict()
    assert converted(state).keys() == state.keys()
    assert all(value is state[name] for name, value in converted(state).items())


def test_of_many_classes_the_transitions_that_were_seen_are_kept() -> None:
    classes = MAX_SUCCESSORS + 20
    counts = torch.full((classes, classes), 0.5 / classes)
    counts[3, [7, classes - 1]] += torch.tensor([4.0, 2.0])
    found = converted(
        {
            "labels.counts": counts.clone(),
            "labels.frequencies": torch.full((classes,), 1 / classes),
            "neighbours.seen": torch.tensor(6),
        }
    )
    labels = Labels()
    labels.add_columns(classes, classes)
    labels.load_state_dict(
        {
            name.removeprefix("labels."): v
            for name, v in found.items()
            if name.startswith("labels.") and "learned" not in name and "frequencies" not in name
        },
        strict=False,
    )
    torch.testing.assert_close(labels(1, 3)[0, 0].exp(), counts[3] / counts[3].sum())
    torch.testing.assert_close(labels(1, 0)[0, 0].exp(), torch.full((classes,), 1 / classes))
    assert found["columns.seen"].tolist() == list(range(classes)) and int(found["labels.learned"]) == 6
