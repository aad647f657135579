"""A mixture answers whatever it is asked, and what it holds is tensors whose shapes follow from the classes seen."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from driftline.networks.experts.encoding import Encoding
from driftline.networks.experts.labels import Labels
from driftline.networks.experts.mixture import FLOOR, Mixture
from driftline.networks.experts.neighbours import Neighbours
from driftline.networks.kernels import labels as of_labels
from driftline.networks.kernels.encoding import LIMIT


def mixture_of(features: int, seen: list[int], classes: int | None = None, **options: Any) -> Mixture:
    """A mixture that has columns for the classes ``seen``, and has learned nothing of them."""
    mixture = Mixture(features, len(seen) if classes is None else classes, seed=0, **options)
    mixture.see(seen)
    return mixture


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("classes", [1, 2, 7, 1000])
@pytest.mark.parametrize("features", [1, 6, 150])
def test_an_untrained_mixture_finds_all_classes_alike(features: int, classes: int) -> None:
    for mixture, width in ((Mixture(features, classes, seed=0), 1), (mixture_of(features, [*range(classes)]), classes)):
        logits, trace = mixture(random(3, features))
        assert logits.shape == (3, classes)
        assert trace.shape == (3, mixture.members + 1, width)
        torch.testing.assert_close(logits.softmax(1), torch.full((3, classes), 1 / classes))


def test_without_classes_there_is_no_answer_and_no_failure() -> None:
    logits, trace = Mixture(4, 0, seed=0)(random(2, 4))
    assert logits.shape == (2, 0)
    assert trace.shape[::2] == (2, 0)


def test_the_same_seed_gives_the_same_mixture() -> None:
    one, two, other = Mixture(4, 3, seed=1), Mixture(4, 3, seed=1), Mixture(4, 3, seed=2)
    assert all(torch.equal(value, two.state_dict()[name]) for name, value in one.state_dict().items())
    assert not torch.equal(one.ridge.weight, other.ridge.weight)


def test_a_mixture_has_nothing_for_the_users_optimizer() -> None:
    assert not list(Mixture(4, 3, seed=0).parameters())


def test_a_version_of_twenty_features_stays_below_a_megabyte() -> None:
    assert mixture_of(20, [*range(10)]).bytes < 1_000_000


def test_the_network_is_one_more_member() -> None:
    mixture = mixture_of(4, [0, 1, 2], with_network=True)
    sure = torch.tensor([[-9.0, -9.0, 0.0]]).log_softmax(1)
    logits, trace = mixture(random(1, 4), sure)
    assert int(logits.argmax()) == 2
    torch.testing.assert_close(trace[:, -2], sure.clamp(min=FLOOR))
    with pytest.raises(ValueError, match="with_network"):
        mixture(random(1, 4))


def test_inputs_of_any_shape_and_type_are_taken_flat() -> None:
    mixture = Mixture(6, 2, seed=0)
    rows = torch.arange(12).reshape(2, 2, 3)
    assert torch.equal(mixture(rows)[0], mixture(rows.reshape(2, 6).float())[0])


def test_encoded_rows_stay_bounded_whatever_comes() -> None:
    encoding = Encoding(3)
    rows = torch.tensor([[1e6, 7.0, 3e38], [1e6 + 1, 7.0, -3e38], [1e6 + 2, 7.0, 0.0]])
    encoding.observe(rows, 3, 3)
    encoded = encoding(torch.cat([rows, -rows, torch.zeros(1, 3)]))
    assert encoded.isfinite().all()
    assert encoded.abs().max() <= float(LIMIT)


def test_a_bin_fills_between_its_quantiles() -> None:
    encoding = Encoding(1)
    encoding.observe(torch.linspace(0, 8, 9).unsqueeze(1), 9, 9)
    filled = encoding(torch.tensor([[2.25]]))[0, 1:] + 0.5
    torch.testing.assert_close(filled, torch.tensor([1, 1, 0.25, 0, 0, 0, 0, 0]))


def test_the_newest_of_equally_near_rows_outvotes_older_ones() -> None:
    neighbours = Neighbours(2, size=10)
    neighbours.add_columns(2)
    neighbours.targets.copy_(torch.tensor([1, 1, 1, 1, 1, 0, 0, 0, 0, 0]))
    neighbours.seen.fill_(15)
    assert int(neighbours(torch.zeros(1, 2))[-1, 0].argmax()) == 1
    neighbours.seen.fill_(20)
    assert int(neighbours(torch.zeros(1, 2))[-1, 0].argmax()) == 0


def test_labels_that_alternate_are_foreseen_by_the_chain() -> None:
    labels = Labels()
    labels.add_columns(3, 3)
    for before, after in zip([0, 1] * 20, [1, 0] * 20, strict=True):
        of_labels.count(labels.arrays(), before, after, np.float32(0.999))
    assert labels(1, 0)[0, 0].exp()[1] > 0.9


def test_out_of_order_the_newest_label_says_nothing() -> None:
    one, other = mixture_of(4, [0, 1, 2]), mixture_of(4, [0, 1, 2])
    for mixture, newest in ((one, 0), (other, 2)):
        of_labels.count(mixture.labels.arrays(), 0, 1, np.float32(0.999))
        mixture.labels.newest.fill_(newest)
    rows = random(5, 4)
    assert not torch.equal(one(rows)[0], other(rows)[0])
    assert torch.equal(one(rows, in_order=False)[0], other(rows, in_order=False)[0])


def test_a_column_more_keeps_the_answers_about_the_others() -> None:
    mixture = mixture_of(4, [0, 1], classes=5)
    mixture.ridge.heads.normal_(generator=torch.Generator().manual_seed(0))
    before = mixture.ridge(mixture.encoding(random(5, 4)))
    mixture.see([4, 2, 3])
    after = mixture.ridge(mixture.encoding(random(5, 4)))
    torch.testing.assert_close(after[:, :, :2].log_softmax(2), before)
    assert mixture(random(5, 4))[0].shape == (5, 5)


def test_features_in_one_unit_are_scaled_alike_and_then_stand_still() -> None:
    encoding = Encoding(200, one_unit=True)
    rows = random(300, 200)
    rows[:, 0] = 0
    encoding.observe(rows, 300, 300)
    slope = encoding.slope.clone()
    assert torch.equal(slope, slope[:1, :1].expand_as(slope))
    encoding.observe(10 * rows, 600, 300)
    assert torch.equal(encoding.slope, slope)
