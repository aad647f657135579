"""A regression's mixture in one call gives what its members give one by one, and learns as the direct form does."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from driftline.learning.training.experts.autoregression import Autoregression, Scored
from driftline.learning.training.experts.least_squares import LeastSquares
from driftline.learning.training.experts.regression import RegressionLearner
from driftline.networks.experts.linear import LinearHeads, with_constant
from driftline.networks.experts.regression import FADINGS, RATES, SETS, RegressionMixture
from driftline.networks.kernels import least_squares
from driftline.networks.kernels.levels import FARTHEST, LAGS
from driftline.networks.kernels.values import LEAST_SERVED

SEEDS = st.integers(0, 10_000)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def learned_mixture(features: int, outputs: int, labels: int, seed: int) -> RegressionMixture:
    """A mixture whose buffers hold numbers at random, after so many labels, and a window of as many rows."""
    mixture, rows, targets = RegressionMixture(features, outputs, seed), random(60, features), 5 + random(60, outputs)
    mixture.encoding.observe(rows, 60, 60)
    mixture.target_unit.follow_range(targets, targets)
    mixture.target_unit.follow(targets, is_settled=False)
    buffers = [mixture.encoded.heads, mixture.bank.output]
    buffers += [each.heads for each in (mixture.linear, mixture.autoregressive) if each is not None]
    for number, buffer in enumerate(buffers):
        buffer.copy_(0.1 * random(*buffer.shape, seed=seed + number))
    mixture.bank.is_trained.fill_(1)
    if labels:
        mixture.levels.follow(targets[:labels])
    near = mixture.neighbours
    near.rows[:60], near.targets[:60] = mixture.encoding(rows)[:, :features], targets
    near.norms.copy_(near.rows.square().sum(1))
    near.seen.fill_(labels)
    mixture.weights.copy_(torch.rand(mixture.weights.shape, generator=torch.Generator().manual_seed(seed)) / 20)
    return mixture


def with_lags(mixture: RegressionMixture, scores: Tensor, lags: Tensor) -> Tensor:
    """The direct form of what autoregressive members take: ``[batch, features]``, ``[batch, LAGS, outputs]``."""
    unit, known = mixture.target_unit, lags.double()
    newest = known[:, :1]
    differences = ((known[:, 1:] - newest) / unit.scale).nan_to_num(0.0)
    both = torch.cat([(newest - unit.centre) / unit.scale, differences], 1).clamp(-FARTHEST, FARTHEST)
    return with_constant(torch.cat([scores.double(), both.flatten(1)], 1))


def members_of(mixture: RegressionMixture, rows: Tensor, network: Tensor) -> Tensor:
    """What each member answers, one after the other, in the order of a trace ``[batch, members + LAGS, outputs]``."""
    unit, encoded, batch = mixture.target_unit, mixture.encoding(rows), len(rows)
    scores = encoded[:, : mixture.features]
    levels, lags = (unit.believed(known).unsqueeze(1).expand(-1, batch, -1) for known in mixture.levels(True))
    first = []
    if mixture.autoregressive is not None:
        steps = mixture.autoregressive(with_lags(mixture, scores, lags.transpose(0, 1)))
        first.append(unit.believed(lags[:1] + steps * unit.scale))
    found = [unit.restored(mixture.encoded(mixture.random_features(encoded)))]
    found += [unit.restored(mixture.bank.values(encoded)), mixture.neighbours(scores, unit.low, unit.high).double()]
    if mixture.trees is not None:
        found.append(unit.restored(mixture.trees.scores(rows)).unsqueeze(0))
    if mixture.linear is not None:
        found.append(unit.restored(mixture.linear(with_constant(scores.double()))))
    rest = torch.cat([*found, network.double().unsqueeze(0)])
    clamped = unit.clamped(rest.masked_fill(rest.isinf(), torch.nan))
    return torch.cat([*first, levels, clamped, lags]).transpose(0, 1).float()


def mixed(mixture: RegressionMixture, trace: Tensor) -> Tensor:
    """The direct form of a mean of the members that know something ``[outputs, sets, batch]``."""
    values = trace[:, : mixture.members].permute(2, 1, 0).double()
    weights = mixture.weights.where(mixture.weights >= float(LEAST_SERVED), 0.0).double()
    known = values.isfinite().double()
    values = values.nan_to_num(0.0)
    heard, others = torch.matmul(weights, known), values.sum(1, keepdim=True) / known.sum(1, keepdim=True).clamp(min=1)
    return torch.where(heard > 0, torch.matmul(weights, values) / heard, others)


@settings(deadline=None, max_examples=20)
@given(features=st.integers(1, 6), outputs=st.integers(1, 3), labels=st.integers(0, 60), seed=SEEDS)
def test_one_call_answers_as_all_members_do(features: int, outputs: int, labels: int, seed: int) -> None:
    mixture, asked = learned_mixture(features, outputs, labels, seed), random(5, features, seed=seed)
    network = random(5, outputs, seed=seed + 1)
    network[3] = torch.inf
    values, trace = mixture(asked, network)
    told = torch.cat([members_of(mixture, asked, network), mixed(mixture, trace).permute(2, 1, 0).float()], 1)
    torch.testing.assert_close(trace, told, atol=1e-3, rtol=1e-3, equal_nan=True)
    expected = (mixed(mixture, trace) * mixture.trust.unsqueeze(2)).sum(1).T.float()
    torch.testing.assert_close(values, expected, atol=1e-4, rtol=1e-4)
    alone = [mixture(asked[row : row + 1], network[row : row + 1]) for row in range(5)]
    assert torch.equal(torch.cat([one for one, _ in alone]), values)
    assert torch.equal(torch.cat([one for _, one in alone]).nan_to_num(7.0), trace.nan_to_num(7.0))


@pytest.mark.parametrize("features", [150, 300])
def test_wide_rows_are_answered_as_all_members_do(features: int) -> None:
    mixture, asked = learned_mixture(features, 1, 30, 1), random(3, features, seed=2)
    expected = members_of(mixture, asked, torch.zeros(3, 1))
    trace = mixture(asked, torch.zeros(3, 1))[1][:, : mixture.members + LAGS]
    torch.testing.assert_close(trace, expected, atol=1e-3, rtol=1e-3, equal_nan=True)


@settings(deadline=None, max_examples=20)
@given(features=st.integers(1, 12), outputs=st.integers(1, 3), rows=st.integers(1, 40), seed=SEEDS)
def test_rows_are_taken_in_and_solved_as_lapack_does(features: int, outputs: int, rows: int, seed: int) -> None:
    one, other = (
        LeastSquares(LinearHeads(features, outputs, (1.0, 0.99, 0.9)), penalty=1.0, damping=1e-3) for _ in range(2)
    )
    mixture = RegressionMixture(features, outputs, 0)
    unit, encoded, targets = (
        mixture.target_unit,
        random(50, features + 3, seed=seed),
        random(50, outputs, seed=seed + 1),
    )
    unit.follow_range(targets, targets)
    unit.follow(targets, is_settled=False)
    weights, slots = random(50, seed=seed + 2).abs(), torch.arange(60 - rows, 60) % 50
    errors = random(outputs, len(FADINGS), 9, seed=seed + 3).abs().double()
    for has_errors in (False, True):
        window = [each.numpy() for each in (encoded, slots, targets, weights)]
        least_squares.learn(*window, unit.arrays(), one.arrays(), errors.numpy(), 5, has_errors)
        if has_errors:
            relative = errors[:, -1, 5:8] / unit.scale.unsqueeze(1)
            other.penalty.copy_(relative.square().mean(0).clamp(1e-6, 1.0).unsqueeze(1))
        other.add(with_constant(encoded[slots][:, :features].double()), unit.scaled(targets[slots]), weights[slots])
        other.solve()
        for name in ("gram", "moment", "penalty"):
            torch.testing.assert_close(getattr(one, name), getattr(other, name))
        torch.testing.assert_close(one.linear.heads, other.linear.heads, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_heads_of_sums_that_are_no_numbers_are_none_and_else_stay(number: float) -> None:
    sums = LeastSquares(LinearHeads(2, 1, (1.0, 0.9)), penalty=1.0)
    unit, slots = RegressionMixture(2, 1, 0).target_unit, np.zeros(1, np.int64)
    given_rows = (np.ones((1, 2), np.float32), slots, np.ones((1, 1), np.float32), np.ones(1, np.float32))
    sums.gram[1, 0, 0] = -5.0
    sums.linear.heads.fill_(3.0)
    least_squares.learn(*given_rows, unit.arrays(), sums.arrays(), np.zeros((1, 1, 9)), 0, False)
    assert bool((sums.linear.heads == 3).all()), "sums that are not fit for it"
    sums.gram[1, 0, 0] = number
    least_squares.learn(*given_rows, unit.arrays(), sums.arrays(), np.zeros((1, 1, 9)), 0, False)
    assert bool(sums.linear.heads.isnan().all())


@settings(deadline=None, max_examples=20)
@given(outputs=st.integers(1, 3), rows=st.integers(1, 9), has_errors=st.booleans(), seed=SEEDS)
def test_differences_are_learned_as_their_formula(outputs: int, rows: int, has_errors: bool, seed: int) -> None:
    mixture = learned_mixture(3, outputs, 20, seed)
    one, unit = Autoregression(mixture), mixture.target_unit
    asked, targets = random(rows, 3, seed=seed), 5 + random(rows, outputs, seed=seed + 1).double()
    traces, weights = mixture(asked, torch.zeros(rows, outputs))[1], random(rows, seed=seed + 2).abs()
    traces[0, mixture.members] = torch.nan
    errors = random(outputs, len(FADINGS), mixture.members, seed=seed + 3).abs().double()
    heads = one.sums.linear.heads.clone()
    direct = LeastSquares(LinearHeads(3 + LAGS * outputs, outputs, (1.0, 0.99)), penalty=1.0)
    lags = traces[:, mixture.members : mixture.members + LAGS]
    features = with_lags(mixture, mixture.encoding(asked)[:, :3], lags)
    steps = ((unit.believed(targets) - lags[:, 0]) / unit.scale).clamp(-FARTHEST, FARTHEST)[1:]
    if has_errors:
        relative = errors[:, -1, :2] / unit.scale.unsqueeze(1)
        foreseen, farthest = torch.matmul(features[1:], heads), 4.0 * relative.T.unsqueeze(1)
        steps = foreseen + (steps - foreseen).clamp(-farthest, farthest)
    one.learn(Scored(asked, traces, targets, weights), errors, has_errors, 4.0)
    if rows == 1:
        assert not one.sums.gram.any(), "no last label was known"
        return
    if has_errors:
        direct.penalty.copy_(relative.square().mean(0).clamp(1e-6, 1.0).unsqueeze(1))
    direct.add(features[1:], steps, weights[1:])
    direct.solve()
    torch.testing.assert_close(one.sums.gram, direct.gram)
    torch.testing.assert_close(one.sums.moment, direct.moment, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(one.sums.linear.heads, direct.linear.heads, atol=1e-5, rtol=1e-5)


@settings(deadline=None, max_examples=20)
@given(outputs=st.integers(1, 3), rows=st.integers(1, 9), scored=st.sampled_from([0.0, 40.0]), seed=SEEDS)
def test_weights_follow_answers_as_their_formula(outputs: int, rows: int, scored: float, seed: int) -> None:
    mixture = learned_mixture(3, outputs, 20, seed)
    learner = RegressionLearner(mixture)
    asked, targets = random(rows, 3, seed=seed), 5 + random(rows, outputs, seed=seed + 1).double()
    network = torch.zeros(rows, outputs)
    network[0] = torch.nan
    traces, weights = mixture(asked, network)[1], 0.1 + random(rows, seed=seed + 2).abs()
    mixture.weights.copy_(mixture.weights.flip(2))
    learner.scored = scored
    learner.errors.copy_(0.1 + random(*learner.errors.shape, seed=seed + 3).abs())
    learner.losses.copy_(random(*learner.losses.shape, seed=seed + 4).abs())
    before, errors, losses = mixture.weights.clone(), learner.errors.clone(), learner.losses.clone()
    answers, wanted, counts = mixed(mixture, traces), targets.T.unsqueeze(1), weights.double()
    as_served, former = traces[:, -SETS:].permute(2, 1, 0).double(), errors[:, -1:].amin(2)
    served = (answers * mixture.trust.unsqueeze(2)).sum(1, keepdim=True)
    values = traces[:, : mixture.members].permute(2, 1, 0).double()
    values, total = values.where(values.isfinite(), served), float(counts.sum())
    learner.update_mixture_weights(traces, asked, targets, weights)
    means = (values - wanted).abs() @ (counts / total)
    fadings = torch.tensor(FADINGS, dtype=torch.float64).view(-1, 1)
    rates = (1 - fadings**total).clamp(min=total / (scored + total))
    errors = errors + rates * (means.unsqueeze(1) - errors)
    torch.testing.assert_close(learner.errors, errors)
    scale = errors[:, -1:].amin(2, keepdim=True)
    missed = (answers - wanted) / scale
    losses = losses * 0.99**total * former / scale.squeeze(2) + ((as_served - wanted) / scale).abs() @ counts
    losses = (losses - losses.amin(1, keepdim=True)).float()
    torch.testing.assert_close(learner.losses, losses, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(mixture.trust, (losses * -0.5).softmax(1), atol=1e-4, rtol=1e-4)
    distances = ((values.unsqueeze(1) - answers[:, :3].unsqueeze(2)) / scale.unsqueeze(3)).clamp(-4.0, 4.0)
    gradient = (distances @ (missed[:, :3].clamp(-1, 1) * counts).unsqueeze(3)).squeeze(3)
    pace, share = torch.tensor(RATES).view(-1, 1) * total**-0.25, min(0.001 * total, 0.5)
    descended = before[:, :3] * (-pace * gradient).exp()
    descended = descended / descended.sum(2, keepdim=True) * (1 - share) + share / mixture.members
    powers = (errors / errors.amin(2, keepdim=True)) ** -8.0
    expected = torch.cat([descended, powers / powers.sum(2, keepdim=True)], 1).float()
    torch.testing.assert_close(mixture.weights, expected, atol=1e-4, rtol=1e-3)
