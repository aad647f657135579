"""The weights of a mixture cannot ruin it: whatever its members are like, it is no worse than most of them."""

from __future__ import annotations

import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from driftline.learning.training.experts.weights import MOST, WeightLearner
from driftline.networks.experts.mixture import FLOOR, Mixture


class Opinions:
    """Labels, and what members say of them that know more or less, more or less surely.

    ``most`` is how much a member knows at most, how sure it is of itself, and how much all of them take for a sign what is
    none.
    """

    def __init__(
        self,
        seed: int,
        rows: int,
        classes: int,
        rare: float,
        mixture: Mixture,
        most: tuple[float, float, float] = (4.0, 2.0, 1.0),
    ) -> None:
        random = torch.Generator().manual_seed(seed)
        shares = torch.full((classes,), rare / (classes - 1))
        shares[0] = 1 - rare
        self.targets = torch.multinomial(shares, rows, replacement=True, generator=random)
        signal = torch.nn.functional.one_hot(self.targets, classes).float().unsqueeze(1)
        known, sure = (torch.rand(mixture.members, 1, generator=random) * each for each in most[:2])
        common = torch.randn(rows, 1, classes, generator=random) * most[2]
        own = torch.randn(rows, mixture.members, classes, generator=random)
        scores = shares.log() + sure * (known * (signal - shares) + common + own)
        self.members = scores.log_softmax(2).clamp(min=FLOOR)
        tags = mixture.columns.marked(-1).expand(rows, 1, -1)
        self.traces = torch.cat([self.members, tags], 1)

    def losses(self, answers: Tensor) -> Tensor:
        """The mean log loss of answers ``[rows, …, classes]``, from the middle of the stream on."""
        place = self.targets.view(-1, *[1] * (answers.dim() - 1)).expand(*answers.shape[:-1], 1)
        return -answers.log_softmax(-1).clamp(min=FLOOR).gather(-1, place).squeeze(-1)[len(answers) // 2 :].mean(0)

    def areas(self, answers: Tensor) -> Tensor:
        """The AUC of answers ``[rows, …, 2]``."""
        scores = (answers[..., 1] - answers[..., 0])[len(answers) // 2 :].reshape(len(answers) - len(answers) // 2, -1)
        truth = self.targets[len(answers) // 2 :].numpy()
        return torch.tensor([roc_auc_score(truth, each) for each in scores.T.numpy()])


def played(mixture: Mixture, opinions: Opinions, batch: int) -> Tensor:
    """What is served of each row before its label is learned."""
    learner, found = WeightLearner(mixture), []
    for traces, targets in zip(opinions.traces.split(batch), opinions.targets.split(batch), strict=True):
        found.append(mixture.mix(traces))
        learner.update_mixture_weights(traces, targets)
        assert (mixture.weights >= 0).all() and (mixture.weights.sum(1) <= MOST + 1e-5).all()
    return torch.cat(found)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("batch", [1, 32])
@pytest.mark.parametrize(("classes", "rare"), [(2, 0.5), (2, 0.02), (5, 0.8), (5, 0.05)])
def test_what_is_served_is_no_worse_than_the_median_member(seed: int, batch: int, classes: int, rare: float) -> None:
    mixture = Mixture(2, classes, seed=0)
    mixture.see(range(classes))
    opinions = Opinions(seed, 2000, classes, rare, mixture)
    served = played(mixture, opinions, batch)
    assert opinions.losses(served) <= opinions.losses(opinions.members).median()
    if classes == 2:
        assert opinions.areas(served) >= opinions.areas(opinions.members).median()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("batch", "most"), [(32, (2.0, 1.0, 0.0)), (32, (4.0, 0.5, 0.0)), (1, (2.0, 1.0, 1.0))])
def test_of_members_that_are_hardly_sure_of_a_rare_class_most_are_no_better(
    seed: int, batch: int, most: tuple[float, float, float]
) -> None:
    mixture = Mixture(2, 2, seed=0)
    mixture.see(range(2))
    opinions = Opinions(seed, 2000, 2, 0.01, mixture, most)
    served = played(mixture, opinions, batch)
    assert opinions.losses(served) <= opinions.losses(opinions.members).median()
    # What members of the second kind tell rows apart by is a twentieth of a nat: a temperature that moves is as much.
    tolerance = 0.03 if most[1] < 1 else 0.0
    assert opinions.areas(served) >= opinions.areas(opinions.members).median() - tolerance


def test_the_one_member_that_knows_is_found_among_many() -> None:
    mixture = Mixture(2, 2, seed=0)
    mixture.see(range(2))
    opinions = Opinions(0, 600, 2, 0.5, mixture)
    opinions.traces[:, :-1] = torch.randn(600, mixture.members, 2, generator=torch.Generator().manual_seed(1))
    knows = torch.nn.functional.one_hot(opinions.targets, 2).float().mul(4).log_softmax(1)
    opinions.traces[:, 7] = knows
    served = played(mixture, opinions, 1)
    assert (served.argmax(1) == opinions.targets)[200:].float().mean() > 0.97


def test_weights_that_a_former_release_had_let_grow_come_back_into_bounds() -> None:
    mixture = Mixture(2, 2, seed=0)
    mixture.see(range(2))
    mixture.weights.mul_(24)
    opinions = Opinions(0, 32, 2, 0.5, mixture)
    WeightLearner(mixture).update_mixture_weights(opinions.traces, opinions.targets)
    assert (mixture.weights.sum(1) <= MOST + 1e-5).all()
