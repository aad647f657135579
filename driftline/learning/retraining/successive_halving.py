"""Successive halving: trials of several recipes, of which the better ones go on, and the training of the one that is left."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch

from driftline.errors import DriftlineError
from driftline.learning.examples import Examples
from driftline.learning.retraining.budget import most
from driftline.learning.retraining.trial import TrainingFailed, Trial
from driftline.learning.retraining.validation_scores import rank
from driftline.learning.retraining.validation_split import Split, split
from driftline.learning.stateful import State, Stateful, named
from driftline.networks.user_code import reason_of, user_code
from driftline.spec.classes import ClassTable


@dataclass(frozen=True)
class TrialResult:
    """How far a trial has come in the race: its updates, its last scores, and what has become of it."""

    number: int
    updates: int
    outcome: str
    scores: dict[str, float] = field(default_factory=dict)
    reason: str | None = None


class SuccessiveHalving(Stateful):
    """Successive halving (Jamieson & Talwalkar 2016): after each rung the better trials go on, until one is left.

    A fifth of the examples is held, and no trial trains on it in the race; the one that is left goes on over all of them. Each
    trial draws from the same chance as all others. One whose code raises is out. ``keeps`` says how many trials
    each rung keeps, ``entries`` what each has of its own, and ``out`` how those stand that run no more.
    """

    STATE = ("entries", "keeps", "seed", "out", "trials")
    DERIVED = ("examples", "every", "split")

    def __init__(
        self,
        entries: Sequence[Mapping[str, Any]],
        trials: Sequence[Trial],
        keeps: Sequence[int],
        examples: Examples,
        seed: int,
    ) -> None:
        self.entries, self.trials, self.keeps = list(entries), list(trials), list(keeps)
        self.examples = examples
        self.seed = seed
        self.out: list[TrialResult] = []
        self.every = torch.arange(len(examples))

    @cached_property
    def split(self) -> Split:
        """What judges the race, and what is trained on in it."""
        return split(self.examples, self.seed)

    @property
    def leader(self) -> Trial:
        """The winner; before there is one, the first of those that run."""
        return self.trials[0]

    @property
    def is_decided(self) -> bool:
        """Whether one trial is left, and has all rungs behind it."""
        return len(self.trials) == 1 and self.leader.rung == len(self.keeps)

    @property
    def is_done(self) -> bool:
        """Whether the winner has made all of its updates."""
        return self.is_decided and self.leader.done >= self.leader.rung_schedule.total

    @property
    def done(self) -> int:
        """The updates that all trials have made."""
        return sum(result.updates for result in self.out) + sum(trial.done for trial in self.trials)

    @property
    def left(self) -> int:
        """The updates that are left at most."""
        return most([trial.stages for trial in self.trials], self.keeps)

    @property
    def racing(self) -> list[Trial]:
        """The trials that are on their way through the next rung: none needs what another one does there."""
        rung = min((trial.rung for trial in self.trials), default=0)
        return [] if self.is_decided else [trial for trial in self.trials if trial.rung == rung]

    def is_through(self, rung: int | None) -> bool:
        """Whether all of its trials have passed a rung; None: whether it is done."""
        return self.is_done if rung is None else all(trial.rung > rung for trial in self.trials)

    def parts(self, count: int) -> list[SuccessiveHalving]:
        """The racing trials in ``count`` parts at most, which may go through the rung apart and then be :meth:`joined`."""
        trials = self.racing
        places = range(min(count, len(trials)))
        return [
            SuccessiveHalving(self.entries, trials[at :: len(places)], self.keeps, self.examples, self.seed)
            for at in places
        ]

    def joined(self, parts: Sequence[SuccessiveHalving]) -> SuccessiveHalving:
        """What comes of it with what its :meth:`parts` have come to, in whatever order they did.

        Raises:
            TrainingFailed: no trial is left.
        """
        trials = {trial.number: trial for half in (self, *parts) for trial in half.trials}
        results = {result.number: result for half in (self, *parts) for result in half.out}
        left = [trials[number] for number in sorted(trials.keys() - results.keys())]
        found = SuccessiveHalving(self.entries, left, self.keeps, self.examples, self.seed)
        found.out = list(results.values())
        for rung in {trial.rung for trial in left} - {0}:
            found._drop_beaten(rung)
        found._check_some_are_left()
        return found

    def advance(self) -> None:
        """The next update: of the trial whose turn it is, which is judged at the end of its rung, or of the winner.

        Raises:
            TrainingFailed: no trial is left.
        """
        if self.is_decided:
            self.leader.advance(self.examples, self.every)
            return
        trial = min(self.trials, key=lambda trial: trial.rung)
        try:
            with user_code(f"trial {trial.number}"):
                self._run(trial)
        except DriftlineError as error:
            self._leave(trial, "failed", reason_of(error))
            self._check_some_are_left()

    def _run(self, trial: Trial) -> None:
        # With hardly any updates to make, a rung may end where the one before it did.
        if not trial.is_at_rung:
            trial.advance(self.examples, self.split.trained)
        if trial.is_at_rung:
            trial.validate(self.examples, self.split.held)
            self._drop_beaten(trial.rung)

    def _drop_beaten(self, rung: int) -> None:
        """Lets those go that so many others have beaten at a rung as it keeps; of equals the first at the start stays."""
        judged = sorted((trial for trial in self.trials if trial.rung == rung), key=lambda trial: rank(trial.scores))
        for trial in judged[self.keeps[rung - 1] :]:
            self._leave(trial, "lost")

    def _leave(self, trial: Trial, outcome: str, reason: str | None = None) -> None:
        self.trials.remove(trial)
        self.out.append(TrialResult(trial.number, trial.done, outcome, trial.scores, reason))

    def _check_some_are_left(self) -> None:
        if len(self.out) == len(self.entries):
            reasons = dict.fromkeys(str(result.reason) for result in self.out if result.reason)
            raise TrainingFailed(f"no recipe of the race could be trained: {'; '.join(reasons)}")

    def table(self) -> dict[int, dict[str, Any]]:
        """By number what each entry has of its own, and ``updates``, the scores on what is held, ``outcome``, ``reason``."""
        outcome = "won" if self.is_decided else "running"
        running = [TrialResult(trial.number, trial.raced, outcome, trial.scores) for trial in self.trials]
        rows = {}
        for result in _in_order([*self.out, *running]):
            reason = {"reason": result.reason} if result.reason else {}
            shown = {"updates": result.updates, **result.scores, "outcome": result.outcome, **reason}
            rows[result.number] = {**self.entries[result.number], **shown}
        return rows

    def packed(self, name: str) -> Any:
        if name == "out":
            # In the same order, whichever of them was the first to leave.
            return [dataclasses.asdict(result) for result in _in_order(self.out)]
        if name != "trials":
            return super().packed(name)
        states = {str(trial.number): trial.state_dict() for trial in self.trials}
        tensors = {key: value for number, own in states.items() for key, value in named(number, own.tensors).items()}
        return State(tensors, {number: own.data for number, own in states.items()})

    @classmethod
    def from_state(
        cls, state: State, examples: Examples, table: ClassTable, factories: Sequence[str]
    ) -> SuccessiveHalving:
        """What :meth:`state_dict` described, over ``examples``."""
        data, trials = state.data, state.below("trials")
        restored = [Trial.from_state(trials.below(number), table, factories) for number in trials.data]
        found = cls(data["entries"], restored, data["keeps"], examples, data["seed"])
        found.out = [TrialResult(**result) for result in data["out"]]
        return found


def _in_order(results: Sequence[TrialResult]) -> list[TrialResult]:
    return sorted(results, key=lambda result: result.number)
