"""A race between recipes, and the training of the one that is left."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from driftline.learning.examples import Examples
from driftline.learning.race_budget import most
from driftline.learning.race_scores import rank
from driftline.learning.race_split import Split, split
from driftline.learning.racer import Racer, TrainingFailed
from driftline.learning.state import named, part
from driftline.networks.functions import reason_of


@dataclass(frozen=True)
class Standing:
    """How far a racer has come in the race: its updates, its last scores, and what has become of it."""

    number: int
    updates: int
    outcome: str
    scores: dict[str, float] = field(default_factory=dict)
    reason: str | None = None


class Race:
    """Successive halving (Jamieson & Talwalkar 2016): behind each rung the better racers go on, until one is left.

    A fifth of the examples is held, and no racer trains on it in the race; the one that is left goes on over all of them. Each
    racer draws from the same chance as all others. One whose code raises is out. ``keeps`` says how many racers
    each rung keeps, ``entries`` what each has of its own, and ``out`` how those stand that run no more.
    """

    def __init__(
        self,
        entries: Sequence[Mapping[str, Any]],
        racers: Sequence[Racer],
        keeps: Sequence[int],
        examples: Examples,
        seed: int,
    ) -> None:
        self.entries, self.racers, self.keeps = list(entries), list(racers), list(keeps)
        self.examples = examples
        self.seed = seed
        self.out: list[Standing] = []
        self.every = torch.arange(len(examples))

    @cached_property
    def split(self) -> Split:
        """What judges the race, and what is trained on in it."""
        return split(self.examples, self.seed)

    @property
    def leader(self) -> Racer:
        """The winner; before there is one, the first of those that run."""
        return self.racers[0]

    @property
    def is_decided(self) -> bool:
        """Whether one racer is left, and has all rungs behind it."""
        return len(self.racers) == 1 and self.leader.rung == len(self.keeps)

    @property
    def is_done(self) -> bool:
        """Whether the winner has made all of its updates."""
        return self.is_decided and self.leader.done >= self.leader.course.total

    @property
    def done(self) -> int:
        """The updates that all racers have made."""
        return sum(standing.updates for standing in self.out) + sum(racer.done for racer in self.racers)

    @property
    def left(self) -> int:
        """The updates that are left at most."""
        return most([racer.stages for racer in self.racers], self.keeps)

    def advance(self) -> None:
        """The next update: of the racer whose turn it is, which is judged at the end of its rung, or of the winner.

        Raises:
            TrainingFailed: no racer is left.
        """
        if self.is_decided:
            self.leader.advance(self.examples, self.every)
            return
        racer = min(self.racers, key=lambda racer: racer.rung)
        try:
            self._run(racer)
        except Exception as error:  # A user's own network or loss may raise anything.
            self._leave(racer, "failed", reason_of(error))
            self._check_some_are_left()

    def _run(self, racer: Racer) -> None:
        # With hardly any updates to make, a rung may end where the one before it did.
        if not racer.is_at_rung:
            racer.advance(self.examples, self.split.trained)
        if racer.is_at_rung:
            racer.judge(self.examples, self.split.held)
            self._drop_beaten(racer.rung)

    def _drop_beaten(self, rung: int) -> None:
        """Lets those go that so many others have beaten at a rung as it keeps; of equals the first at the start stays."""
        judged = sorted((racer for racer in self.racers if racer.rung == rung), key=lambda racer: rank(racer.scores))
        for racer in judged[self.keeps[rung - 1] :]:
            self._leave(racer, "lost")

    def _leave(self, racer: Racer, outcome: str, reason: str | None = None) -> None:
        self.racers.remove(racer)
        self.out.append(Standing(racer.number, racer.done, outcome, racer.scores, reason))

    def _check_some_are_left(self) -> None:
        if not self.racers:
            reasons = dict.fromkeys(str(standing.reason) for standing in self.out if standing.reason)
            raise TrainingFailed(f"no recipe of the race could be trained: {'; '.join(reasons)}")

    def table(self) -> list[dict[str, Any]]:
        """Of each entry what it has of its own, and ``updates``, the scores on what is held, ``outcome`` and ``reason``."""
        outcome = "won" if self.is_decided else "running"
        running = [Standing(racer.number, racer.raced, outcome, racer.scores) for racer in self.racers]
        rows = []
        for standing in sorted([*self.out, *running], key=lambda standing: standing.number):
            reason = {"reason": standing.reason} if standing.reason else {}
            shown = {"updates": standing.updates, **standing.scores, "outcome": standing.outcome, **reason}
            rows.append({**self.entries[standing.number], **shown})
        return rows

    def tensors(self) -> dict[str, Tensor]:
        return {
            name: tensor for racer in self.racers for name, tensor in named(str(racer.number), racer.tensors()).items()
        }

    def data(self) -> dict[str, Any]:
        """The plain part of the state."""
        return {
            "entries": self.entries,
            "racers": [racer.data() for racer in self.racers],
            "keeps": self.keeps,
            "seed": self.seed,
            "out": [dataclasses.asdict(standing) for standing in self.out],
        }

    @classmethod
    def from_state(
        cls, tensors: Mapping[str, Tensor], data: Mapping[str, Any], examples: Examples, factories: Sequence[str]
    ) -> Race:
        """The race over ``examples`` that :meth:`tensors` and :meth:`data` gave."""
        racers = [Racer.from_state(part(tensors, str(each["number"])), each, factories) for each in data["racers"]]
        found = cls(data["entries"], racers, data["keeps"], examples, data["seed"])
        found.out = [Standing(**standing) for standing in data["out"]]
        return found
