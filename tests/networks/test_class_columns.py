"""A mixture pays for the classes that it has seen, whichever ids they have, and whatever number is declared."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from driftline.networks.experts.columns import ClassColumns
from driftline.networks.experts.labels import Labels
from driftline.networks.experts.mixture import FLOOR, Mixture
from driftline.networks.experts.traces import UNKNOWN, aligned, read, with_other
from driftline.networks.kernels import labels as of_labels
from driftline.networks.kernels.weights import newest_of


def columns_of(classes: int, *seen: int) -> ClassColumns:
    columns = ClassColumns(classes)
    columns.set(torch.tensor(seen, dtype=torch.int64))
    return columns


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def numbers_in(mixture: Mixture) -> int:
    return sum(value.numel() for value in mixture.state_dict().values())


def recorded(traces: Tensor) -> list[bytes]:
    return [trace.half().numpy().tobytes() for trace in traces]


def test_what_is_held_follows_from_the_classes_seen() -> None:
    sizes = []
    for classes in (10, 100_000):
        mixture = Mixture(4, classes, seed=0, with_network=True)
        untaught = numbers_in(mixture)
        mixture.see([classes - 1, 0, 3])
        sizes.append((untaught, numbers_in(mixture)))
    assert sizes[0] == sizes[1]
    per_column = {}
    for count in (100, 1000):
        taught = Mixture(4, 2000, seed=0)
        taught.see(range(count))
        per_column[count] = numbers_in(taught) / count
    assert per_column[1000] <= per_column[100], "not a square"


def test_three_numbers_for_each_output_are_all_that_unseen_classes_cost() -> None:
    few, many = Mixture(4, 10, seed=0), Mixture(4, 100_000, seed=0)
    all_of = [sum(value.numel() for value in mixture.buffers()) for mixture in (few, many)]
    assert all_of[1] - all_of[0] == 3 * (100_000 - 10)


def test_the_answers_are_a_distribution_and_the_network_divides_the_unseen() -> None:
    mixture = Mixture(4, 7, seed=0, with_network=True)
    mixture.see([5, 2])
    mixture.labels.learned.fill_(10)
    network = random(3, 7).log_softmax(1)
    answers = mixture(random(3, 4), network)[0].softmax(1)
    torch.testing.assert_close(answers.sum(1), torch.ones(3))
    unseen = [0, 1, 3, 4, 6]
    shares = network.exp()[:, unseen]
    torch.testing.assert_close(
        answers[:, unseen] / answers[:, unseen].sum(1, keepdim=True), shares / shares.sum(1, True)
    )


@pytest.mark.parametrize("seen", [[], [3], [3, 0, 6], [6, 5, 4, 3, 2, 1, 0]])
def test_a_network_that_is_relied_on_is_answered_as_it_is(seen: list[int]) -> None:
    mixture, network = Mixture(4, 7, seed=0, with_network=True), random(3, 7).log_softmax(1)
    mixture.see(seen)
    mixture.rely_on_network()
    torch.testing.assert_close(mixture(random(3, 4), network)[0].softmax(1), network.exp(), atol=1e-5, rtol=1e-4)


def test_the_more_labels_were_of_known_classes_the_less_is_expected_of_others() -> None:
    mixture = Mixture(4, 7, seed=0)
    mixture.see([1])
    masses = []
    for learned in (1, 10, 1000):
        mixture.labels.learned.fill_(learned)
        masses.append(1 - float(mixture(random(1, 4))[0].softmax(1)[0, 1]))
    assert masses[0] > masses[1] > masses[2]


def test_columns_stay_when_classes_get_other_ids() -> None:
    columns = columns_of(5, 4, 0, 2)
    assert columns.reclass([1, 2, None, 3, 0], 4).tolist() == [0, 1]
    assert columns.seen.tolist() == [0, 1] and columns.classes == 4
    assert columns.of(torch.tensor([1, 0, 3])).tolist() == [1, 0, -1]


def test_a_class_is_new_once_and_only_while_there_is_room() -> None:
    columns = ClassColumns(10, max_columns=3)
    columns.set(torch.tensor([7]))
    assert columns.new(torch.tensor([7, 2, 2, 9, 1, 7])) == [2, 9]
    columns.set(torch.tensor([7, 2, 9]))
    assert columns.is_full and columns.new(torch.tensor([0])) == []


def test_a_recorded_trace_is_read_by_what_has_more_columns() -> None:
    mixture = Mixture(4, 6, seed=0)
    mixture.see([5, 1])
    mixture.labels.newest.fill_(1)
    then = mixture(random(2, 4))[1]
    mixture.see([3])
    found = read(recorded(then), mixture.parts, mixture.columns)
    assert found is not None
    known = aligned(found, mixture.columns)
    assert known.shape[2] == 4 and [*map(newest_of, known.numpy())] == [2, 2]
    torch.testing.assert_close(known[:, :-1, :3], then[:, :-1], atol=1e-2, rtol=1e-2)
    assert (known[:, :, 3] == UNKNOWN).all()


def test_a_trace_without_any_other_class_is_aligned_with_those_that_have_it() -> None:
    mixture = Mixture(4, 2, seed=0)
    mixture.see([1, 0])
    then = mixture(random(2, 4))[1]
    mixture.add_classes(1)
    found = read(recorded(then), mixture.parts, mixture.columns)
    assert found is not None and found.shape[2] == 2
    whole = with_other(found, mixture.columns)
    assert whole.shape[2] == 3 and (whole[:, :, 0] == UNKNOWN).all() and [*map(newest_of, whole.numpy())] == [-1, -1]


@pytest.mark.parametrize("seen", [[5, 2], [1, 5], [5]])
def test_a_trace_of_other_columns_is_not_read(seen: list[int]) -> None:
    mixture, other = Mixture(4, 6, seed=0), Mixture(4, 6, seed=0)
    mixture.see([5, 1])
    other.see(seen)
    data = recorded(mixture(random(2, 4))[1])
    assert read(data, mixture.parts, mixture.columns) is not None
    assert read(data, other.parts, other.columns) is None
    assert read([data[0], data[1][:-2]], mixture.parts, mixture.columns) is None
    assert read([b"", b""], mixture.parts, mixture.columns) is None


def test_a_trace_of_a_former_release_is_that_of_all_classes_in_order() -> None:
    columns, old = columns_of(4, 0, 1, 2), torch.full((2, 5, 3), -1.5)
    old[:, -1] = torch.tensor([[FLOOR, 0, FLOOR], [FLOOR, FLOOR, FLOOR]])
    found = read(recorded(old), 5, columns)
    assert found is not None and [*map(newest_of, found.numpy())] == [1, -1]
    assert torch.equal(found[:, :-1], old[:, :-1])
    assert read(recorded(old), 5, columns_of(4, 0, 2, 1)) is None


def test_the_transitions_that_count_most_are_kept_and_the_others_are_one_rest() -> None:
    labels, dense = Labels(max_successors=4), Labels(max_successors=100)
    for each in (labels, dense):
        each.add_columns(10, 10)
        for after in [1, 2, 3] * 20 + [5, 6, 7]:
            of_labels.count(each.arrays(), 0, after, np.float32(0.999))
        for after in [4, 8] * 5:
            of_labels.count(each.arrays(), 3, after, np.float32(0.999))
    assert labels.counts.numel() == 40
    sparse, full = (each(1, 0)[0, 0].exp() for each in (labels, dense))
    torch.testing.assert_close(sparse.sum(), torch.tensor(1.0))
    torch.testing.assert_close(sparse[[1, 2, 3]], full[[1, 2, 3]], atol=0.02, rtol=0)
    torch.testing.assert_close(labels(1, 3)[0, 0], dense(1, 3)[0, 0])


def test_transitions_are_the_same_before_and_after_there_are_too_many_for_all() -> None:
    labels = Labels(max_successors=4)
    labels.add_columns(4, 4)
    for after in (1, 1, 3):
        of_labels.count(labels.arrays(), 2, after, np.float32(0.999))
    before = labels(1, 2)[0, 0]
    labels.add_columns(2, 6)
    assert labels.counts.shape == labels.successors.shape == (6, 4)
    torch.testing.assert_close(labels(1, 2)[0, 0, :4].softmax(0), before.exp(), atol=0.05, rtol=0)
    labels.select(torch.arange(4))
    assert labels.counts.shape == (4, 4) and not labels.successors.numel() and not labels.rest.numel()
    torch.testing.assert_close(labels(1, 2)[0, 0].exp(), before.exp(), atol=0.05, rtol=0)


@pytest.mark.parametrize("max_successors", [3, 100])
def test_transitions_to_a_class_that_is_lost_have_never_been(max_successors: int) -> None:
    one, other = Labels(max_successors), Labels(max_successors)
    one.add_columns(6, 6)
    other.add_columns(5, 6)
    place = {0: 0, 1: 1, 3: 2, 4: 3, 5: 4}
    for before, after in [(0, 1), (3, 5), (0, 1), (4, 4), (5, 3)]:
        of_labels.count(one.arrays(), before, after, np.float32(0.999))
        of_labels.count(other.arrays(), place[before], place[after], np.float32(0.999))
    one.newest.fill_(3)
    one.select(torch.tensor([0, 1, 3, 4, 5]))
    assert int(one.newest) == 2
    for newest in range(5):
        torch.testing.assert_close(one(1, newest), other(1, newest))
    one.select(torch.tensor([0, 1]))
    assert int(one.newest) == -1, "what was the newest label is gone"


def test_a_state_is_loaded_with_its_columns() -> None:
    one = Mixture(4, 9, seed=0)
    one.see([8, 1, 5])
    other = Mixture(4, 9, seed=1)
    other.see([2])
    other.load_state_dict(one.state_dict())
    assert other.columns.of(torch.tensor([5, 2])).tolist() == [2, -1]
    rows = random(3, 4)
    assert all(torch.equal(mine, its) for mine, its in zip(one(rows), other(rows), strict=True))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("columns.seen", [8, 8]),
        ("columns.seen", [8, 9]),
        ("columns.seen", [[8, 1]]),
        ("neighbours.targets", [2] * 1000),
        ("labels.newest", 2),
    ],
)
def test_a_state_that_names_what_is_not_there_is_refused(name: str, value: object) -> None:
    mixture = Mixture(4, 9, seed=0)
    mixture.see([8, 1])
    mixture.neighbours.seen.fill_(5)
    state = {key: tensor.clone() for key, tensor in mixture.state_dict().items()}
    assert mixture.fitted(state) is not None
    assert mixture.fitted(state | {name: torch.tensor(value)}) is None
    assert mixture.columns.count == 0
