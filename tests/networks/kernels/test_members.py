"""Every kernel gives what the same formula gives in torch, and a row alone what it gives in a batch, bit for bit."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import one_hot

from driftline.learning.training.experts.bank import NAMES, BankLearner
from driftline.learning.training.experts.mixture import MixtureLearner
from driftline.learning.training.experts.ridge import NO_FACTORS, RidgeLearner
from driftline.networks.experts.bank import Bank
from driftline.networks.experts.encoding import Encoding
from driftline.networks.experts.labels import RAREST, RATE, Labels
from driftline.networks.experts.mixture import FLOOR, Mixture
from driftline.networks.experts.neighbours import SHIFTS, Neighbours
from driftline.networks.experts.ridge import KEPT, Ridge
from driftline.networks.kernels import labels as of_labels
from driftline.networks.kernels import step
from driftline.networks.kernels.elementary import cosines
from driftline.networks.kernels.encoding import HALF, LIMIT
from driftline.networks.kernels.linear import add_product
from driftline.networks.kernels.views import array_of

SEEDS = st.integers(0, 10_000)


class Followed:
    """Rows that a small ridge beside a mixture follows, by the kernel that takes rows in."""

    def __init__(self, columns: int, seed: int) -> None:
        self.mixture = Mixture(5, columns, seed)
        self.mixture.see(range(columns))
        self.window = MixtureLearner(self.mixture)
        self.encoded = self.window._encoded
        self.ridge = Ridge(self.encoded.shape[1], 40, torch.Generator().manual_seed(seed))
        self.ridge.add_columns(columns)
        self.unsolved = 0

    def begin(self, learner: RidgeLearner, rows: Tensor, targets: Tensor, weights: Tensor) -> None:
        """Takes rows in, and solves for them."""
        self._take_in(learner, rows, targets, weights, 0, NO_FACTORS)
        learner.learn(self.encoded[: len(rows)], targets, weights)
        self.unsolved = 0

    def follow(self, learner: RidgeLearner, rows: Tensor, targets: Tensor, weights: Tensor) -> None:
        self._take_in(learner, rows, targets, weights, *learner.following(self.unsolved, len(rows)))

    def forget(self, count: int) -> None:
        """As if the newest rows had not come."""
        self.mixture.neighbours.seen -= count
        self.unsolved -= count

    def _take_in(
        self, learner: RidgeLearner, rows: Tensor, targets: Tensor, weights: Tensor, known: int, factors: Any
    ) -> None:
        encoding, trees, _, _, neighbours, labels = self.mixture.arrays_of_members()
        new = tuple(map(array_of, (rows, targets, weights, torch.zeros_like(targets))))
        own = (self.ridge.arrays(), learner.kept, learner.scales, factors, self.unsolved, known)
        members = (neighbours, trees, labels, (RATE, RAREST))
        step.learn(new, self.mixture.encoding.binned, encoding, *self.window._window(), *members, *own)
        self.unsolved += len(rows)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def learned_mixture(features: int, classes: int, rows: int, seed: int) -> Mixture:
    """A mixture whose buffers hold numbers at random, and a window of so many rows."""
    mixture = Mixture(features, classes, seed, with_network=True)
    mixture.see(list(range(classes)))
    mixture.encoding.observe(random(300, features, seed=seed), 300, 300)
    for number, buffer in enumerate((mixture.ridge.heads, mixture.bank.output, mixture.bank.output_bias)):
        buffer.copy_(random(*buffer.shape, seed=number))
    mixture.bank.is_trained.fill_(1)
    near, z = mixture.neighbours, random(len(mixture.neighbours.rows), features, seed=3).clamp(-5, 5)
    near.rows.copy_(z)
    near.norms.copy_(z.square().sum(1))
    near.targets.copy_(torch.arange(len(z)) % classes)
    near.seen.fill_(rows)
    mixture.labels.newest.fill_(classes - 1)
    return mixture


@given(rows=st.integers(1, 9), width=st.integers(1, 40), outputs=st.integers(1, 70), seed=SEEDS)
def test_a_product_is_that_of_torch(rows: int, width: int, outputs: int, seed: int) -> None:
    given_rows, matrix, start = (
        random(rows, width, seed=seed),
        random(width, outputs, seed=1),
        random(rows, outputs, seed=2),
    )
    out = start.clone()
    add_product(given_rows.numpy(), matrix.numpy(), out.numpy())
    torch.testing.assert_close(out, start + given_rows @ matrix, atol=1e-4, rtol=1e-4)


@given(st.lists(st.floats(-300, 300, width=32), min_size=1, max_size=50))
def test_cosines_are_those_of_the_library(angles: list[float]) -> None:
    found = np.array(angles, np.float32)
    expected = np.cos(found.astype(np.float64))
    cosines(found)
    np.testing.assert_allclose(found, expected, atol=2e-6)


@pytest.mark.parametrize(("features", "binned"), [(3, None), (5, 2), (4, 0), (150, None)])
@given(seed=SEEDS)
def test_an_encoding_scales_and_clips(features: int, binned: int | None, seed: int) -> None:
    encoding, rows = Encoding(features, binned=binned), 3 * random(7, features, seed=seed)
    encoding.observe(random(300, features, seed=seed + 1), 300, 300)
    repeated = torch.cat([rows, rows[:, : encoding.binned].repeat(1, encoding.bins)], 1)
    expected = (repeated - encoding.centre.view(-1)) * encoding.slope.view(-1)
    bounds = torch.full((encoding.width,), float(HALF))
    bounds[:features] = float(LIMIT)
    torch.testing.assert_close(encoding(rows), expected.clamp(-bounds, bounds))


@given(features=st.integers(1, 6), filled=st.integers(1, 40), batch=st.integers(1, 4), seed=SEEDS)
def test_the_nearest_rows_vote(features: int, filled: int, batch: int, seed: int) -> None:
    size, columns = 30, 3
    near, rows = Neighbours(features, size, has_short=True), random(size, features, seed=seed)
    near.add_columns(columns)
    near.rows.copy_(rows)
    near.norms.copy_(rows.square().sum(1))
    near.targets.copy_(torch.arange(size) % columns)
    near.seen.fill_(filled)
    scores, there = random(batch, features, seed=seed + 1), min(filled, size)
    squared = torch.cdist(scores.double(), rows[:there].double()).square()
    squared /= squared.mean(1, keepdim=True) + 1e-6
    ages = ((filled - 1 - torch.arange(there)) % size) / size
    for member, (shift, most) in enumerate(zip(near._kinds.tolist(), near._votes.sum(1).int().tolist(), strict=True)):
        away, slots = (squared + SHIFTS[shift] * ages).topk(min(most, there), largest=False)
        weights = (away + 1e-3).rsqrt()
        weights /= weights.sum(1, keepdim=True)
        even = 0.25 / most
        chances = torch.full((batch, columns), even / columns, dtype=torch.float64)
        chances.scatter_add_(1, near.targets[slots], weights)
        torch.testing.assert_close(
            near(scores)[member], (chances / (1 + even)).log().float(), atol=2e-2, rtol=1e-2, check_dtype=False
        )


@given(columns=st.integers(1, 5), seed=SEEDS)
def test_ridge_and_bank_answer_as_their_formulas(columns: int, seed: int) -> None:
    encoded, generator = random(6, 20, seed=seed), torch.Generator().manual_seed(seed)
    ridge, bank = Ridge(20, 30, generator), Bank(20, generator)
    ridge.add_columns(columns)
    bank.add_columns(columns)
    ridge.heads.copy_(random(*ridge.heads.shape))
    bank.output.copy_(random(*bank.output.shape))
    bank.is_trained.fill_(1)
    features = (encoded @ ridge.weight + ridge.phase).cos()
    torch.testing.assert_close(ridge(encoded), torch.matmul(features, ridge.heads).log_softmax(2), atol=1e-4, rtol=1e-4)
    hidden = (torch.matmul(encoded, bank.hidden) + bank.hidden_bias).relu()
    expected = torch.matmul(hidden, bank.output) + bank.output_bias
    torch.testing.assert_close(bank.values(encoded), expected, atol=1e-4, rtol=1e-4)


def by_autograd(bank: Bank, rows: Tensor, targets: Tensor, weights: Tensor, steps: int) -> list[Tensor]:
    """The tensors of a bank after Adam as PyTorch has it, each network on the same rows."""
    found = []
    for member, (rate, _) in enumerate(bank.kinds):
        own = [getattr(bank, name)[member].clone().requires_grad_() for name in NAMES]
        optimizer = torch.optim.Adam(own, rate)
        for _ in range(steps):
            outputs = (rows @ own[0] + own[1]).relu() @ own[2] + own[3]
            if targets.is_floating_point():
                losses = torch.nn.functional.huber_loss(outputs, targets, reduction="none").sum(1)
            else:
                losses = torch.nn.functional.cross_entropy(outputs, targets, reduction="none")
            optimizer.zero_grad()
            (losses * weights).mean().backward()
            optimizer.step()
        found.append(torch.cat([tensor.detach().flatten() for tensor in own]))
    return found


@pytest.mark.parametrize("is_regression", [False, True])
@given(columns=st.integers(1, 4), seed=SEEDS)
def test_a_bank_learns_as_adam_does(is_regression: bool, columns: int, seed: int) -> None:
    bank = Bank(9, torch.Generator().manual_seed(seed))
    bank.add_columns(columns)
    bank.output.copy_(random(*bank.output.shape, seed=seed) / 8)
    rows, weights = random(4, 9, seed=seed + 1), random(4, seed=seed + 2).abs()
    targets = 2 * random(4, columns, seed=seed + 3) if is_regression else torch.arange(4) % columns
    expected = by_autograd(bank, rows, targets, weights, 3)
    learner = BankLearner(bank)
    for _ in range(3):
        learner.learn(rows, torch.zeros(bank.members, 0), 4, 4, 4, targets, weights)
    for member, wanted in enumerate(expected):
        got = torch.cat([getattr(bank, name)[member].flatten() for name in NAMES])
        # Adam takes a gradient that is hardly more than rounding for a step like any other.
        is_close = torch.isclose(got, wanted, atol=2e-4, rtol=1e-3)
        assert is_close.float().mean() > 0.98
        torch.testing.assert_close(got, wanted, atol=6 * bank.kinds[member][0], rtol=0)


@settings(max_examples=12)
@given(rows=st.integers(1, 60), columns=st.integers(1, 4), seed=SEEDS)
def test_heads_that_follow_every_row_are_the_solution(rows: int, columns: int, seed: int) -> None:
    followed = Followed(columns, seed)
    ridge, learner = followed.ridge, RidgeLearner(followed.ridge, damping=0.0)
    given = (random(rows + 20, 5, seed=seed), torch.arange(rows + 20) % columns, random(rows + 20, seed=seed + 1).abs())
    _, targets, weights = given
    followed.begin(learner, *(each[:20] for each in given))
    for row in range(20, rows + 20):
        followed.follow(learner, *(each[row : row + 1] for each in given))
    features = (ridge.project(followed.encoded[: rows + 20]) * learner._amplitude).double()
    for head, kept in enumerate(KEPT):
        shares = weights.double() * kept ** torch.arange(rows + 19, -1, -1)
        # What is not forgotten fades with all else until the next factorisation.
        penalty = torch.eye(40, dtype=torch.float64) * kept**rows
        gram = (features.T * shares) @ features + penalty
        moment = (features.T * shares) @ one_hot(targets, columns).double()
        wanted = torch.linalg.solve(gram, moment) * learner._amplitude * learner.sharpness
        torch.testing.assert_close(ridge.heads[head].double(), wanted, atol=2e-2, rtol=1e-2)


def test_what_follows_from_a_state_is_made_again_bit_for_bit() -> None:
    followed = Followed(2, 0)
    ridge, learner = followed.ridge, RidgeLearner(followed.ridge)
    given = (random(24, 5), torch.arange(24) % 2, torch.ones(24))
    followed.begin(learner, *(each[:10] for each in given))
    for row in range(10, 20):
        followed.follow(learner, *(each[row : row + 1] for each in given))
    before = ridge.heads.clone()
    state, other = learner.state_dict(), RidgeLearner(ridge)
    followed.follow(learner, *(each[20:] for each in given))
    wanted = ridge.heads.clone()
    ridge.heads.copy_(before)
    followed.forget(4)
    other.load_state_dict(state)
    followed.follow(other, *(each[20:] for each in given))
    assert torch.equal(ridge.heads, wanted)


@pytest.mark.parametrize("most", [2, 64])
def test_labels_count_as_their_formulas(most: int) -> None:
    labels, columns = Labels(most), torch.tensor([0, 2, 2, 1, 0, 2])
    labels.add_columns(3, 3)
    before = labels.frequencies.clone()
    of_labels.follow(columns.numpy(), labels.arrays(), np.float32(RATE), np.float32(RAREST))
    shares = torch.tensor([0.02 * 0.98**age for age in range(5, -1, -1)])
    torch.testing.assert_close(labels.frequencies, (before * 0.98**6).index_add_(0, columns, shares))
    assert int(labels.newest) == 2 and int(labels.learned) == 6
    for _ in range(30):
        of_labels.count(labels.arrays(), 0, 1, np.float32(0.999))
    assert labels(1, 0)[0, 0].argmax() == 1
    torch.testing.assert_close(labels(2, -1)[0], (labels.frequencies / labels.frequencies.sum()).log().expand(2, -1))


@given(features=st.integers(1, 6), classes=st.integers(1, 4), rows=st.integers(0, 60), seed=SEEDS)
def test_one_call_answers_as_all_members_do(features: int, classes: int, rows: int, seed: int) -> None:
    mixture, asked = learned_mixture(features, classes, rows, seed), random(5, features, seed=seed)
    network = random(5, classes, seed=seed + 1).log_softmax(1)
    logits, trace = mixture(asked, network)
    answers = torch.cat([*mixture._answers(asked, network, classes - 1)]).transpose(0, 1).clamp(min=FLOOR)
    torch.testing.assert_close(trace[:, :-1], answers, atol=1e-4, rtol=1e-4)
    each = torch.matmul(mixture.weights, trace[:, :-1]).log_softmax(2)
    torch.testing.assert_close(mixture.mix_each(trace), each, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(logits, torch.matmul(mixture.trust, each), atol=1e-4, rtol=1e-4)
    alone = [mixture(asked[row : row + 1], network[row : row + 1]) for row in range(5)]
    assert torch.equal(torch.cat([one for one, _ in alone]), logits)
    assert torch.equal(torch.cat([one for _, one in alone]), trace)


def test_a_network_whose_answer_is_no_number_says_nothing() -> None:
    mixture = learned_mixture(3, 2, 10, 0)
    network, even = torch.tensor([[math.nan, math.inf]]), torch.full((1, 2), -math.log(2))
    torch.testing.assert_close(mixture(random(1, 3), network), mixture(random(1, 3), even))
