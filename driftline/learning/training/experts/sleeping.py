"""What a mixture had learned before drift was detected sleeps, and is woken where it is true again."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from driftline.learning.examples import NO_EXAMPLES, Examples
from driftline.learning.promotion.gate import errors_of
from driftline.learning.stateful import State, Stateful, named, part
from driftline.learning.training.experts.mixture import MixtureLearner
from driftline.learning.training.experts.regression import RegressionLearner
from driftline.learning.training.returned import Return
from driftline.learning.training.train_state import TrainState
from driftline.networks.clone import clone
from driftline.networks.experts.mixture import Mixture
from driftline.networks.experts.regression import RegressionMixture
from driftline.networks.served_model import Rescaling, ServedModel, evaluating

ServedMixture: TypeAlias = Mixture | RegressionMixture
MAX_BYTES = 2**24
"""What all former mixtures of a model take at most: they are in each of its checkpoints."""
SMALLEST = 1e-12


def learner_of(mixture: ServedMixture) -> MixtureLearner | RegressionLearner:
    """What teaches a mixture that may have learned elsewhere."""
    return RegressionLearner(mixture) if isinstance(mixture, RegressionMixture) else MixtureLearner(mixture)


@dataclass
class Former:
    """A mixture as it was after ``at`` labels. ``sums`` are, in a trial, those of the labels' weights, and of the differences
    between the loss of the present mixture and its own, and of their squares.
    """

    mixture: ServedMixture
    at: int
    sums: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])

    @torch.no_grad()
    def answer(self, state: TrainState, examples: Examples, others: Tensor) -> None:
        """Takes in rows that nobody has learned, of which the present mixture has the losses ``others`` ``[rows]``."""
        module, weights = state.module, examples.weights.double()
        present, module.experts = module.experts, self.mixture
        try:
            better = others - losses(module, examples)
        finally:
            module.experts = present
        for place, value in enumerate((weights, weights * better, weights * better.square())):
            self.sums[place] += float(value.sum())

    @property
    def gain(self) -> float:
        """By how much its loss is less than that of the present mixture."""
        return self.sums[1] / self.sums[0] if self.sums[0] else 0.0

    def score(self, least: int) -> float:
        """How many standard errors that is; 0 before it has answered so many rows as are ``least``."""
        count, gain = self.sums[0], self.gain
        if count < least:
            return 0.0
        return gain / math.sqrt(max(self.sums[2] / count - gain * gain, SMALLEST) / count)


class SleepingMixtures(Stateful):
    """Copies of a mixture, taken regularly; the last one from before a change sleeps.

    After a drift alarm, and where the newest labels are answered worse than those before, the ones that sleep answer the rows
    that come, beside the present mixture: each as it is before it learns them, with the present network. What was served to
    them tells nothing where labels are late: nobody knew of the change then. One that is significantly better is gone on with.

    ``recent`` are the copies since the last change, oldest first, ``asleep`` the others, the one that slept last at the end;
    ``labels`` counts labels, of which ``copied_at`` had come at the last copy. ``newest`` are the newest rows in their order,
    ``served`` the losses of what was served to them. A trial waits for ``on_trial`` more labels, and has ``tried`` so many;
    ``returned`` counts those that were woken.

    Args:
        size: how many sleep at most; 0: none, and nothing is copied.
        mixture: what is served; of its kind are all.
        period: labels between two copies.
        max_recent: copies since the last change.
        max_trial: labels after an alarm in which one may be woken, and the newest rows that are kept to learn.
        every: labels between two looks at the newest losses, those of ``suspicious`` labels; of as many is the trial then.
        least: rows that one has to answer before it is woken.
        standard_errors: by how many it has to be better.
        max_bytes: what all copies take at most.
    """

    STATE = ("recent", "asleep", "labels", "copied_at", "newest", "served", "on_trial", "tried", "returned")
    DERIVED = (
        *("size", "mixture", "period", "max_recent", "max_trial", "every", "suspicious", "least", "standard_errors"),
        *("max_bytes", "_kept"),
    )

    def __init__(
        self,
        size: int,
        mixture: ServedMixture,
        *,
        period: int = 64,
        max_recent: int = 4,
        max_trial: int = 256,
        every: int = 16,
        suspicious: int = 32,
        least: int = 16,
        standard_errors: float = 3.0,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self.size, self.mixture, self.period, self.max_recent = size, mixture, period, max_recent
        self.max_trial, self.every, self.suspicious = max_trial, every, suspicious
        self.least, self.standard_errors, self.max_bytes = least, standard_errors, max_bytes
        self.recent: list[Former] = []
        self.asleep: list[Former] = []
        self.labels = self.copied_at = 0
        self.newest: deque[Examples] = deque()
        self.served: deque[float] = deque(maxlen=max_trial)
        self.on_trial = self.tried = self.returned = 0
        self._kept = 0

    def on_learned(self, count: int) -> None:
        """``count`` more labels were learned: copies the mixture where that is due."""
        self.labels += count
        if not self.size or self.labels - self.copied_at < self.period:
            return
        self.copied_at = self.labels
        room = self.max_bytes // self.mixture.bytes
        # Half of what there is room for may sleep.
        copies = min(self.max_recent, room // 2)
        if copies:
            self.recent = [*self.recent, Former(clone(self.mixture), self.labels)][-copies:]
            self._keep(room - copies)

    def _keep(self, room: int) -> None:
        """Keeps so many of those that slept last."""
        self.asleep = self.asleep[max(0, len(self.asleep) - min(self.size, room)) :]

    def on_drift(self, labels: int) -> None:
        """Drift was detected that has begun so many labels ago: what was learned before sleeps, and a trial begins."""
        self._let_sleep(labels)
        if self.asleep:
            self._begin_trial(labels, self.max_trial)

    def _let_sleep(self, labels: int) -> None:
        """Lets the last copy sleep that is older than so many labels."""
        self.asleep += [former for former in self.recent if former.at <= self.labels - labels][-1:]
        self._keep(self.size)
        self.recent, self.copied_at = [], self.labels

    def on_served(self, state: TrainState, examples: Examples, served: Sequence[float]) -> Former | None:
        """Labels have come to rows that were answered, with the loss of each; gives the former mixture that is to be woken."""
        count = len(examples)
        if not self.size or not count:
            return None
        is_due = self.labels // self.every != (self.labels + count) // self.every
        if count > self.max_trial:
            examples, count = examples.take(slice(-self.max_trial, None)), self.max_trial
        self.newest.append(examples)
        self.served.extend(served)
        self._kept += count
        while self._kept - len(self.newest[0]) >= self.max_trial:
            self._kept -= len(self.newest.popleft())
        if self.on_trial:
            self._answer(state, examples)
            self.on_trial = max(0, self.on_trial - count)
        elif self.asleep and is_due and self._is_worse():
            self._begin_trial(self.suspicious, self.suspicious)
            return None
        else:
            return None
        best = max(self.asleep, key=lambda former: former.score(self.least))
        return best if best.score(self.least) > self.standard_errors else None

    def _is_worse(self) -> bool:
        """Whether the newest labels were answered worse than those before, by more than chance most often does."""
        served = np.array(self.served)
        newest, before = served[-self.suspicious :], served[: -self.suspicious]
        if len(before) < self.suspicious:
            return False
        return bool(newest.mean() > before.mean() + 2 * before.std() / math.sqrt(self.suspicious))

    def _begin_trial(self, labels: int, on_trial: int) -> None:
        """Lets the ones that sleep answer the next ``on_trial`` rows; the newest ``labels`` are of what they may be true of."""
        for former in self.asleep:
            former.sums = [0.0, 0.0, 0.0]
        self.on_trial, self.tried = on_trial, min(labels, self._kept, self.max_trial)

    def _answer(self, state: TrainState, newest: Examples) -> None:
        self.tried = min(self.max_trial, self.tried + len(newest))
        others = losses(state.module, newest)
        for former in self.asleep:
            former.answer(state, newest, others)

    def _newest(self, count: int) -> Examples:
        """The newest rows, so many at most."""
        # Of no rows nothing is known.
        known = Examples.all_of(self.newest).without_notes() if self.newest else NO_EXAMPLES
        return known.take(slice(max(0, len(known) - min(count, self.max_trial)), None))

    def wake(self, former: Former) -> tuple[Return, Examples]:
        """Takes one out, to be gone on with; gives what there is to tell of it, and the rows whose labels it has missed."""
        told = Return(self.labels - former.at, self.tried, former.gain)
        self.asleep = [each for each in self.asleep if each is not former]
        self._let_sleep(self.tried)
        self.mixture = former.mixture
        self.on_trial = 0
        self.returned += 1
        return told, self._newest(self.tried)

    def carry(self, state: TrainState, rescaling: Rescaling) -> None:
        """Goes on with inputs and targets in other units."""
        for former in (*self.recent, *self.asleep):
            learner = learner_of(former.mixture)
            learner.carry(*state.module.carried_rows(learner.rows, rescaling))
        self.newest = deque(examples.carried(rescaling) for examples in self.newest)

    def revise(self, corrected: Examples) -> None:
        """Gives the newest rows the labels that they have now; what sleeps has learned what it has learned."""
        self.newest = deque(examples.revised(corrected) for examples in self.newest)

    def continue_from(self, former: SleepingMixtures) -> None:
        """Goes on with copies of what sleeps beside a mixture of the same rows, which answers the same classes first."""
        if _have_same_rows(former.mixture, self.mixture):
            self.load_state_dict(former.state_dict())
            self._keep(self.size)

    def metrics(self) -> dict[str, int]:
        """How many sleep, and how many were woken; nothing before one has slept."""
        return {"asleep": len(self.asleep), "returned": self.returned} if self.asleep or self.returned else {}

    def packed(self, name: str) -> Any:
        if name == "newest":
            return State(self._newest(self.max_trial).tensors(), {})
        if name not in ("recent", "asleep"):
            return super().packed(name)
        formers: list[Former] = getattr(self, name)
        tensors = [named(str(place), former.mixture.state_dict()) for place, former in enumerate(formers)]
        return State(
            {key: value for each in tensors for key, value in each.items()},
            {"formers": [[former.at, *former.sums] for former in formers]},
        )

    def restored(self, name: str, state: State) -> Any:
        if name == "newest":
            known = Examples.from_tensors(part(state.tensors, name))
            self._kept = len(known)
            return deque([known] if len(known) else [])
        if name not in ("recent", "asleep"):
            return super().restored(name, state)
        own = state.below(name)
        return [
            self._former(part(own.tensors, str(place)), *described)
            for place, described in enumerate(own.data["formers"])
        ]

    def _former(self, tensors: dict[str, Tensor], at: int, *sums: float) -> Former:
        mixture = clone(self.mixture)
        mixture.load_state_dict(tensors)
        return Former(mixture, at, [*sums])


def losses(module: ServedModel, examples: Examples) -> Tensor:
    """The Brier score of each row ``[rows]``, float64; of a regression the error."""
    outputs, targets = evaluating(module).predict(examples.inputs).cpu(), module.positions(examples.targets)
    if module.is_regression:
        return errors_of(module, outputs, targets).double()
    chances = outputs.double().nan_to_num_(0.0)
    own = chances.gather(1, targets.unsqueeze(1)).squeeze(1)
    return chances.square().sum(1) - 2 * own + 1


def _have_same_rows(one: ServedMixture, other: ServedMixture) -> bool:
    return one.features == other.features and one.parts_of_row == other.parts_of_row
