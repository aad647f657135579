"""What is judged by how it did when it was served: a canary beside the champion, and a champion that has just taken over."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from driftline.learning.examples import Examples
from driftline.learning.promotion import gate
from driftline.learning.promotion.gate import Comparison, Decision, GateLimits, Judgement
from driftline.learning.stateful import State, Stateful
from driftline.networks.model import Model
from driftline.networks.served_model import ServedModel
from driftline.records import Item
from driftline.spec.classes import ClassTable


class RejectedStreak(Stateful):
    """A learner whose candidate was rejected: what it and the champion have got wrong since, on labels before they are learned.

    Held-out labels may be from before a drift, and an alarm may be late. So the newest labels have the last word. ``since`` is
    how many labels had been learned at the first rejection, ``held_out`` the log number of the newest label that
    was held out by then.
    """

    STATE = ("since", "held_out", "own", "others")
    DERIVED = ("limits",)

    def __init__(self, since: int, held_out: int, limits: GateLimits) -> None:
        self.limits = limits
        self.since = since
        self.held_out = held_out
        self.own: list[float] = []
        self.others: list[float] = []

    def observe(self, latest: Comparison) -> None:
        """Takes in the errors of the candidate and of the champion."""
        self.own = [*self.own, *latest.candidate.tolist()][-self.limits.rejected_window :]
        self.others = [*self.others, *latest.other.tolist()][-self.limits.rejected_window :]

    def restored(self, name: str, state: State) -> Any:
        if name == "held_out" and name not in state.data:
            # A former release did not say: of what is held out by now, nothing is compared when the streak ends.
            return self.held_out
        return super().restored(name, state)

    @property
    def comparison(self) -> Comparison:
        return Comparison("latest labels since it was refused", torch.tensor(self.own), torch.tensor(self.others))

    @property
    def is_won(self) -> bool:
        """Whether the champion has erred more than the candidate."""
        is_enough = len(self.own) >= self.limits.min_held_out
        return is_enough and Comparison("", torch.tensor(self.others), torch.tensor(self.own)).is_worse

    def is_lost(self, learned: int) -> bool:
        """Whether it has gone on for too long: labels would never be served."""
        return learned - self.since >= self.limits.max_rejected

    def decide(self, learned: int) -> Decision:
        """What is served at its end: the candidate where it has won, else the champion, from which the learner begins again."""
        if self.is_won:
            reason = f"better: {self.comparison}; what was held out is of another world"
        else:
            reason = f"begun again from the champion: refused for {learned - self.since} labels"
        judgement: Judgement = "better" if self.is_won else "worse"
        return Decision(True, reason, self.comparison.scores(), judgement=judgement)


class CanaryTrial(Stateful):
    """A candidate that answers a share of the traffic; ``version`` is its number. It is judged at ``needed`` labels a side."""

    STATE = ("version", "needed", "own", "others")
    DERIVED = ("module",)

    def __init__(self, version: int, module: ServedModel, needed: int) -> None:
        self.version = version
        self.module = module
        self.needed = needed
        self.own: list[float] = []
        self.others: list[float] = []

    def observe(self, item: Item, error: float) -> None:
        """Takes in the error of what was served, by the canary or by the champion meanwhile."""
        if item.route == "canary" and item.answer is not None and item.answer.version == self.version:
            self.own.append(error)
        elif item.route == "live":
            self.others.append(error)

    @property
    def is_due(self) -> bool:
        return min(len(self.own), len(self.others)) >= self.needed

    def decide(self) -> Decision:
        """Rejected only if its answers were worse, by more than two standard errors of the difference (Welch 1947)."""
        own, others = (torch.tensor(errors, dtype=torch.float64) for errors in (self.own, self.others))
        spread = math.sqrt(float(own.var()) / len(own) + float(others.var()) / len(others))
        difference = float(own.mean() - others.mean())
        scores = {"canary_error": float(own.mean()), "canary_rows": len(own), "champion_error": float(others.mean())}
        errors = f"the canary errs {scores['canary_error']:.3f}, the champion {scores['champion_error']:.3f}, as served"
        chance = gate.STANDARD_ERRORS * spread
        judgement: Judgement = "worse" if difference > chance else "better" if difference < -chance else "not worse"
        reason = f"canary {judgement}: {errors}, {len(own)} labels of it"
        return Decision(judgement != "worse", reason, scores, judgement=judgement)


class PostPromotionWatch(Stateful):
    """The champion before ``version`` took over: what it would have got wrong, while that may bring it back."""

    STATE = ("version", "served", "former")
    DERIVED = ("model", "class_table", "limits")

    def __init__(self, version: int, model: Model, class_table: ClassTable, limits: GateLimits) -> None:
        self.version = version
        self.model = model
        self.class_table = class_table
        self.limits = limits
        self.served: list[float] = []
        self.former: list[float] = []

    def observe(self, items: Sequence[Item], errors: Sequence[float]) -> None:
        """Takes in labels of answers by the version that took over, and what its predecessor would have got wrong."""
        pairs = [
            (item, error)
            for item, error in zip(items, errors, strict=True)
            if item.answer is not None and item.answer.version >= self.version
        ]
        if not pairs:
            return
        examples = Examples.of(self.model.spec, [item for item, _ in pairs], self.class_table.ids)
        is_answered = self.model.module.answers(examples.targets)
        self.former += gate.errors(self.model.module, examples.take(is_answered)).tolist()
        self.served += [error for (_, error), answers in zip(pairs, is_answered.tolist(), strict=True) if answers]

    @property
    def is_over(self) -> bool:
        return len(self.served) >= self.limits.watched

    @property
    def comparison(self) -> Comparison:
        errors = torch.tensor(self.served), torch.tensor(self.former)
        return Comparison("labels as served", *errors, (f"version {self.version}", "one before"))

    @property
    def has_harmed(self) -> bool:
        """Whether its predecessor would have done better, by three standard errors: it is asked after each step."""
        is_enough = len(self.served) >= self.limits.min_held_out
        return is_enough and self.comparison.exceeds(self.limits.watch_standard_errors)

    def decide(self) -> Decision:
        """The predecessor of a version that has harmed takes its place back."""
        reason = f"rolled back: version {self.version} has harmed: {self.comparison}"
        return Decision(False, reason, self.comparison.scores(), restored=True, judgement="worse")
