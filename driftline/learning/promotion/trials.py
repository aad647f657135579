"""What is judged by how it did when it was served: a canary beside the champion, and a champion that has just taken over."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from driftline.classes import indices_of
from driftline.learning.examples import Examples
from driftline.learning.promotion import gate
from driftline.learning.promotion.gate import Comparison, Decision
from driftline.learning.stateful import Former
from driftline.networks.build import rebuilt
from driftline.networks.served_model import ServedModel
from driftline.records import Item
from driftline.spec import ModelSpec, parse

TRIAL_LABELS = 500
LONGEST_TRIAL = 1000
PROBATION_LABELS = 500
PROBATION_STANDARD_ERRORS = 3.0


@dataclass
class RejectedStreak:
    """A learner whose candidate was refused: what it and the champion have got wrong since, on labels before they are learned.

    What is held out may be of a world that is over, and an alarm may be late. So the newest labels have the last word.
    """

    since: int
    own: list[float] = field(default_factory=list)
    others: list[float] = field(default_factory=list)

    def observe(self, latest: Comparison) -> None:
        """Takes in the errors of the candidate and of the champion."""
        self.own = [*self.own, *latest.candidate.tolist()][-TRIAL_LABELS:]
        self.others = [*self.others, *latest.other.tolist()][-TRIAL_LABELS:]

    @property
    def comparison(self) -> Comparison:
        return Comparison("latest labels since it was refused", torch.tensor(self.own), torch.tensor(self.others))

    @property
    def is_won(self) -> bool:
        """Whether the champion has erred more than the candidate."""
        is_enough = len(self.own) >= gate.FEWEST_HELD_OUT
        return is_enough and Comparison("", torch.tensor(self.others), torch.tensor(self.own)).is_worse

    def is_lost(self, learned: int) -> bool:
        """Whether it has gone on for too long: labels would never be served."""
        return learned - self.since >= LONGEST_TRIAL

    def decide(self, learned: int) -> Decision:
        """What is served at its end: the candidate where it has won, else the champion, from which the learner begins again."""
        if self.is_won:
            reason = f"better: {self.comparison}; what was held out is of another world"
        else:
            reason = f"begun again from the champion: refused for {learned - self.since} labels"
        return Decision(True, reason, self.comparison.scores())

    def data(self) -> dict[str, Any]:
        return {"since": self.since, "own": self.own, "others": self.others}


@dataclass
class CanaryTrial:
    """A candidate that answers a share of the traffic; ``version`` is its number. It is judged at ``needed`` labels a side."""

    version: int
    module: ServedModel
    needed: int
    own: list[float] = field(default_factory=list)
    others: list[float] = field(default_factory=list)

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
        """Refused only if its answers were worse, by more than two standard errors of the difference (Welch 1947)."""
        own, others = (torch.tensor(errors, dtype=torch.float64) for errors in (self.own, self.others))
        spread = math.sqrt(float(own.var()) / len(own) + float(others.var()) / len(others))
        difference = float(own.mean() - others.mean())
        scores = {"canary_error": float(own.mean()), "canary_rows": len(own), "champion_error": float(others.mean())}
        text = (
            f"error {scores['canary_error']:.3f} to {scores['champion_error']:.3f} as served, {len(own)} labels of it"
        )
        is_worse = difference > gate.STANDARD_ERRORS * spread
        return Decision(not is_worse, f"canary {'worse' if is_worse else 'not worse'}: {text}", scores)

    def tensors(self) -> Mapping[str, Tensor]:
        return self.module.state_dict()

    def data(self) -> dict[str, Any]:
        return {
            "version": self.version,
            "width": self.module.width,
            "needed": self.needed,
            "own": self.own,
            "others": self.others,
        }

    @classmethod
    def from_state(cls, tensors: Mapping[str, Tensor], data: Mapping[str, Any], former: Former) -> CanaryTrial:
        """The canary whose module has these tensors, and of which :meth:`data` told."""
        module = former(tensors, data["width"])
        return cls(data["version"], module, data["needed"], list(data["own"]), list(data["others"]))


@dataclass
class PostPromotionWatch:
    """The champion before ``version`` took over, asked what it would have answered, for as long as that may take it back."""

    version: int
    spec: ModelSpec
    classes: list[int | str]
    module: ServedModel
    served: list[float] = field(default_factory=list)
    former: list[float] = field(default_factory=list)

    def observe(self, items: Sequence[Item], errors: Sequence[float]) -> None:
        """Takes in labels of answers by the version that took over, and what its predecessor would have got wrong."""
        index_of = indices_of(self.classes)
        is_regression = self.spec.task == "regression"
        pairs = [
            (item, error)
            for item, error in zip(items, errors, strict=True)
            if item.answer is not None and item.answer.version >= self.version
            if is_regression or (type(item.label), item.label) in index_of
        ]
        if pairs:
            examples = Examples.of(self.spec, [item for item, _ in pairs], index_of)
            self.former += gate.errors(self.module, examples).tolist()
            self.served += [error for _, error in pairs]

    @property
    def is_over(self) -> bool:
        return len(self.served) >= PROBATION_LABELS

    @property
    def comparison(self) -> Comparison:
        return Comparison("labels as served", torch.tensor(self.served), torch.tensor(self.former))

    @property
    def has_harmed(self) -> bool:
        """Whether its predecessor would have done better, by three standard errors: it is asked again and again."""
        is_enough = len(self.served) >= gate.FEWEST_HELD_OUT
        return is_enough and self.comparison.exceeds(PROBATION_STANDARD_ERRORS)

    def decide(self) -> Decision:
        """The predecessor of a version that has harmed takes its place back."""
        reason = f"rolled back: version {self.version} has harmed: {self.comparison}"
        return Decision(False, reason, self.comparison.scores(), restored=True)

    def tensors(self) -> Mapping[str, Tensor]:
        return self.module.state_dict()

    def data(self) -> dict[str, Any]:
        return {
            "version": self.version,
            "spec": self.spec.model_dump(mode="json"),
            "classes": self.classes,
            "served": self.served,
            "former": self.former,
        }

    @classmethod
    def from_state(
        cls, tensors: Mapping[str, Tensor], data: Mapping[str, Any], factories: Sequence[str]
    ) -> PostPromotionWatch:
        """The probation that :meth:`tensors` and :meth:`data` gave."""
        spec, classes = parse(ModelSpec, data["spec"]), list(data["classes"])
        module = rebuilt(spec, classes, tensors, factories)
        return cls(data["version"], spec, classes, module, list(data["served"]), list(data["former"]))
