"""How the mixture of a regression learns from labels."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from driftline.learning.training.experts.autoregression import Autoregression, Scored
from driftline.learning.training.experts.bank import BankLearner
from driftline.learning.training.experts.least_squares import LeastSquares
from driftline.learning.training.experts.value_trees import ValueTreesLearner
from driftline.learning.training.experts.window import WindowLearner
from driftline.networks.experts.encoding import Encoding
from driftline.networks.experts.linear import with_constant
from driftline.networks.experts.regression import FADINGS, RATES, RegressionMixture
from driftline.networks.experts.target_unit import NEWEST, SETTLING
from driftline.networks.kernels import least_squares, value_weights
from driftline.networks.kernels.views import array_of

# A unit that changes by more than this was none: what was learned in it is nothing to go on from.
LARGEST_CHANGE = 4.0


class RegressionLearner(WindowLearner):
    """What a regression's mixture keeps to learn: beside the newest rows the sums of its linear members, and Adam's moments.

    ``errors`` ``[outputs, fadings, members]`` are running absolute errors, as served. That of the best member is what all are
    measured by: how fast weights move depends on neither the target's unit nor how well it can be foreseen. ``scored`` counts
    the labels in them; ``losses`` are those of the mixture's sets of weights. ``waiting`` are the labels of a step until its
    end: a candidate is compared on them before.

    Args:
        large_period: rows between two solutions of the regression on encoded rows where it is large, and while labels pile up.
        fading: how much of the losses of the sets of weights stays per row; one unit of them counts ``trust``.
        batch_power: a batch of B rows moves the weights as B to this power single ones would.
        share: how much of all weight is spread evenly at each label: no member is dead for good.
        farthest: where distances are clipped, in errors.
    """

    STATE = ("losses", "errors", "scored", "linear", "autoregressive", "encoded")
    DERIVED = (
        *("waiting", "fading", "trust", "batch_power", "share", "farthest", "power", "robust"),
        *("_period", "_hurried_period", "_rates", "_fadings"),
    )
    mixture: RegressionMixture
    trees: ValueTreesLearner | None

    def __init__(
        self,
        mixture: RegressionMixture,
        *,
        large_period: int = 128,
        fading: float = 0.99,
        trust: float = 0.5,
        batch_power: float = 0.75,
        share: float = 0.001,
        farthest: float = 4.0,
        power: float = 8.0,
        robust: float = 4.0,
    ) -> None:
        size, trees = len(mixture.neighbours.rows), mixture.trees
        grown = None if trees is None else ValueTreesLearner(trees, size, mixture.features)
        super().__init__(mixture, BankLearner(mixture.bank), grown)
        self.fading, self.trust, self.batch_power = fading, trust, batch_power
        self.share, self.farthest, self.power, self.robust = share, farthest, power, robust
        self.encoded = LeastSquares(mixture.encoded, penalty=3.0, damping=1e-5)
        self.linear = LeastSquares(mixture.linear, penalty=1.0) if mixture.linear is not None else None
        self.autoregressive = Autoregression(mixture) if mixture.autoregressive is not None else None
        self.losses = torch.zeros_like(mixture.trust)
        self.errors = torch.zeros(mixture.outputs, len(FADINGS), mixture.members, dtype=torch.float64)
        self.scored = 0.0
        self.waiting: list[Scored] = []
        usual = self.period if self.encoded.gram.shape[1] <= 1000 else large_period
        self._period, self._hurried_period = (min(each, size - self.period) for each in (usual, large_period))
        self._rates, self._fadings = np.array(RATES), np.array(FADINGS)
        if mixture.neighbours.seen:
            self._recall()

    @torch.no_grad()
    def _recall(self) -> None:
        super()._recall()
        seen, window = self.learned, self._encoded[: self.filled]
        self.encoded.recall(self.mixture.random_features(window), seen)
        if self.linear is not None and self.autoregressive is not None:
            self.linear.recall(self._scores(slice(self.filled)), seen)
            self.autoregressive.recall(seen)

    def _scores(self, slots: slice | Tensor) -> Tensor:
        return with_constant(self._encoded[slots][:, : self.mixture.features].double())

    @torch.no_grad()
    def update_mixture_weights(self, traces: Tensor, rows: Tensor, targets: Tensor, weights: Tensor) -> None:
        """Learns whom to trust, from answers as they were served.

        Most sets of weights follow the gradient of their Huber loss multiplicatively (exponentiated gradient, Kivinen & Warmuth
        1997) with a fixed share for all (Herbster & Warmuth 1998); in the others a member weighs as the inverse of its own
        recent error, to the ``power``. How far each set is trusted is exponential in its recent absolute errors as served:
        where labels are late, a set that follows them closely is late as well.

        Args:
            traces: ``[rows, members + LAGS + SETS, outputs]`` of :meth:`RegressionMixture.forward`.
            rows: ``[rows, features]``, as they arrived.
            targets: ``[rows]`` or ``[rows, outputs]``.
            weights: ``[rows]``, how much each counts.
        """
        mixture = self.mixture
        scored = Scored(
            rows, traces.float().contiguous(), targets.double().reshape(len(targets), mixture.outputs), weights
        )
        if not array_of(weights).all():
            scored = scored.take(weights > 0)
        self.waiting.append(scored)
        if not len(scored.targets):
            return
        given = (array_of(scored.traces), array_of(scored.targets), array_of(scored.weights), mixture.members)
        state = (*mixture.arrays(), array_of(self.errors), array_of(self.losses), self.scored)
        paces = (self._fadings, self.fading, self.trust, self._rates, self.batch_power, self.share, self.farthest)
        self.scored += value_weights.follow(*given, mixture.target_unit.arrays(), *state, *paces, self.power)

    @torch.no_grad()
    def learn(
        self,
        rows: Tensor,
        targets: Tensor,
        weights: Tensor,
        generator: torch.Generator,
        is_hurried: bool = False,
        numbers: Tensor | None = None,
    ) -> None:
        """Teaches every member that looks at rows.

        Args:
            rows: ``[rows, features]``, or anything that flattens to it, as it arrived.
            targets: ``[rows]`` or ``[rows, outputs]``.
            weights: ``[rows]``, how much each counts; what counts nothing is not learned.
            generator: what replay draws from.
            is_hurried: whether labels pile up: the bank then makes a quarter of its updates, or less, and the regression on
                encoded rows is solved and the encoding follows less often.
            numbers: ``[rows]``, the log numbers of the rows, where they are known.
        """
        numbers = weights.new_zeros(len(rows), dtype=torch.int64) if numbers is None else numbers
        rows = rows.reshape(len(rows), self.mixture.features).float()
        targets = targets.reshape(len(targets), self.mixture.outputs).float()
        if not array_of(weights).all():
            counts = weights > 0
            rows, targets, weights, numbers = rows[counts], targets[counts], weights[counts], numbers[counts]
        for part in range(0, len(rows), self.period):
            end = part + self.period
            self._learn(rows[part:end], targets[part:end], weights[part:end], numbers[part:end], is_hurried)
            self._train_bank(generator, is_hurried)
            self._grow_trees(generator, is_hurried)

    def _exchange(self, slots: Tensor, ages: Tensor, targets: Tensor, weights: Tensor) -> None:
        _exchange(self, slots, ages, targets, weights)

    def _learn(self, rows: Tensor, targets: Tensor, weights: Tensor, numbers: Tensor, is_hurried: bool) -> None:
        self._keep(rows, targets, weights, numbers)
        seen = self.learned
        self.unsolved += len(rows)
        self.untrained += len(rows)
        period, is_settled = self._hurried_period if is_hurried else self._period, seen > SETTLING
        is_due = self.unsolved >= min(period, max(1, seen // 2))
        self._follow_targets(is_due, is_settled)
        slots = self.mixture.neighbours.newest(len(rows))
        if is_due:
            self._follow()
            if not is_settled:
                slots = self.mixture.neighbours.newest(self.filled)
                _forget(self.encoded, self.linear)
            self.solve(self.encoded, slots if not is_settled else self.mixture.neighbours.newest(self.unsolved))
            self.unsolved = 0
        if self.linear is not None:
            self.solve(self.linear, slots)

    def solve(self, sums: LeastSquares, slots: Tensor) -> None:
        """Takes rows of the window into sums, by their slots, oldest first, and solves these."""
        mixture = self.mixture
        if sums is self.linear:
            window = (self._encoded, slots, mixture.neighbours.targets, self.weights)
            # The linear members are the last but for the network.
            first = mixture.members - 1 - sums.linear.members
            arrays = mixture.target_unit.arrays(), sums.arrays(), array_of(self.errors)
            least_squares.learn(*map(array_of, window), *arrays, first, self.scored > 0)
            return
        sums.add(mixture.random_features(self._encoded[slots]), self._scaled(slots), self.weights[slots])
        sums.solve()

    def _targets(self, slots: slice | Tensor) -> Tensor:
        return self._scaled(slots).float()

    def _scaled(self, slots: slice | Tensor) -> Tensor:
        return self.mixture.target_unit.scaled(self.mixture.neighbours.targets[slots])

    def _follow_targets(self, is_due: bool, is_settled: bool) -> None:
        """Lets unit and range follow the labels, and brings what was learned into another unit."""
        neighbours, unit = self.mixture.neighbours, self.mixture.target_unit
        newest = neighbours.targets[neighbours.newest(min(NEWEST, self.filled))]
        if is_settled and not is_due:
            unit.follow_range(newest)
            return
        window = neighbours.targets[: self.filled]
        unit.follow_range(newest, window)
        change = unit.follow(window, is_settled)
        if change is not None:
            self._change_unit(*change)
            if not is_due:
                # All else is solved with the rows that have come.
                self.encoded.solve()

    def _change_unit(self, factor: Tensor, offset: Tensor) -> None:
        """Brings what was learned into another unit of the target: a value is ``factor * former + offset`` there."""
        bank = self.mixture.bank
        is_one = _are_near(factor, offset)
        bank.output.mul_(factor.where(is_one, 0.0))
        bank.output_bias.mul_(factor.where(is_one, 0.0)).add_(offset.where(is_one, 0.0))
        if self.trees is not None:
            self.trees.change_targets(factor.where(is_one, 0.0), offset.where(is_one, 0.0))
        for sums in (self.encoded, self.linear):
            if sums is not None:
                sums.change_targets(factor, offset)
        if not is_one.all():
            _begin_again(self)
        if self.autoregressive is not None:
            self.autoregressive.change_target(factor, offset, bool(is_one.all()))

    def _follow(self) -> None:
        before = _frame(self.mixture.encoding)
        super()._follow()
        if self.linear is not None and self.autoregressive is not None:
            after = _frame(self.mixture.encoding)
            factor, offset = after[1] / before[1], (before[0] - after[0]) * after[1]
            self.linear.rescale_features(factor, offset)
            self.autoregressive.change_inputs(factor, offset, bool(_are_near(factor, offset).all()))

    def follow_labels(self) -> None:
        """Takes in, at the end of a step, what its labels say by themselves and after one another."""
        for scored in self.waiting:
            if self.autoregressive is not None:
                self.autoregressive.learn(scored, self.errors, self.scored > 0, self.robust)
            self.mixture.levels.follow(self.mixture.target_unit.believed(scored.targets))
        self.waiting.clear()


@torch.no_grad()
def continued(former: RegressionLearner, mixture: RegressionMixture) -> RegressionLearner:
    """The learner of a new ``mixture`` of the same rows with more fields: both go on, if it has the former one's members."""
    if not mixture.has_members_of(former.mixture):
        return RegressionLearner(mixture)
    places = mixture.continue_from(former.mixture)
    found = RegressionLearner(mixture)
    found.continue_window(former, places.numbers, places.encoded, places.slots)
    found.losses, found.errors, found.scored = former.losses.clone(), former.errors.clone(), former.scored
    found.encoded.continue_from(former.encoded, places.random_features)
    constant = torch.tensor([mixture.features])
    if found.linear is not None and former.linear is not None:
        found.linear.continue_from(former.linear, torch.cat([places.numbers, constant]))
    if found.autoregressive is not None and former.autoregressive is not None:
        found.autoregressive.sums.continue_from(former.autoregressive.sums, places.with_lags)
    return found


def _exchange(learner: RegressionLearner, slots: Tensor, ages: Tensor, targets: Tensor, weights: Tensor) -> None:
    """Puts other targets and weights into slots of a window, and into the sums."""
    neighbours = learner.mixture.neighbours
    targets = targets.reshape(len(targets), learner.mixture.outputs).float()
    former = learner._scaled(slots), learner.weights[slots]
    neighbours.targets[slots], learner.weights[slots] = targets, weights
    now = learner._scaled(slots), weights
    # The sums on encoded rows lack the newest ones.
    summed = (ages >= learner.unsolved).nonzero().flatten()
    features = learner.mixture.random_features(learner._encoded[slots[summed]])
    pair = tuple((values[summed], counts[summed]) for values, counts in (former, now))
    learner.encoded.exchange(features, ages[summed] - learner.unsolved, *pair)
    learner.encoded.solve()
    if learner.linear is not None:
        learner.linear.exchange(learner._scores(slots), ages, former, now)
        learner.linear.solve()


def _begin_again(learner: RegressionLearner) -> None:
    """Forgets what was measured in a unit that was none, as by a first label that was broken."""
    levels, unit = learner.mixture.levels, learner.mixture.target_unit
    learner.scored = 0.0
    for value in (learner.errors, learner.losses):
        value.zero_()
    levels.last.copy_(unit.clamped(levels.last))
    levels.means.copy_(unit.clamped(levels.means))


def _forget(*solved: LeastSquares | None) -> None:
    """Lets what is solved in closed form begin again: of the first rows all are still there."""
    for sums in solved:
        if sums is not None:
            sums.forget()


def _are_near(factor: Tensor, offset: Tensor) -> Tensor:
    """Whether a change of a unit is so small that what was learned before is worth being brought into it."""
    return (factor < LARGEST_CHANGE) & (factor > 1 / LARGEST_CHANGE) & (offset.abs() < LARGEST_CHANGE)


def _frame(encoding: Encoding) -> tuple[Tensor, Tensor]:
    """What z-scores are made with: centre and slope, each ``[features]``."""
    first = encoding.features
    return encoding.centre.view(-1)[:first].double(), encoding.slope.view(-1)[:first].double()
