"""Learning again without some labels: a learner from before them learns what came since, and takes the live one's place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

import torch

from driftline.learning.learner_commands import CommandedLearner
from driftline.learning.promotion.gate import Decision
from driftline.networks import pretrained
from driftline.networks.build import build
from driftline.networks.clone import sibling
from driftline.networks.experts.serving import EXPERTS
from driftline.records import Item
from driftline.spec.classes import ClassTable

REPLAYED = 2**40
"""The version of all that a learner would have served while it learns again: none of the answers in the log is by it."""


class RelearnedLearner(CommandedLearner):
    """A learner that can be brought to where another one stands."""

    @classmethod
    def of_network(cls, live: Self) -> Self:
        """A learner that knows nothing but the network of a live one: no row, no score, nothing that is served beside it."""
        module = build(live.spec, live.classes, factories=live.factories, seed=live.seed)
        weights = live.course.candidate().state_dict()
        pretrained.load(module, {name: value for name, value in weights.items() if not name.startswith(EXPERTS)})
        table = ClassTable(live.class_table.names)
        return cls(live.spec, live.classes, module, live.seed, live.factories, live.promotion.limits, table)

    def begin_relearning(self, live: Self) -> None:
        """Begins to learn again what ``live`` has learned since this one stood here; classes have the ids that they have there.

        What was answered meanwhile was mixed of other members. Where classes have come since, it also counted them in an order
        that is not known.
        """
        self.class_table.add(live.class_table.names)
        self.promotion.dismiss()
        self.promotion.is_ahead = True  # It would have served what it has learned.
        self.mixed_since = REPLAYED
        if self.classes != live.classes:
            self.ordered_since = REPLAYED

    def judged_beside(self, live: Self) -> Decision:
        """What the gate says of this learner in the place of ``live``, on what is held out here: no erased label is."""
        self.promotion.promote(sibling(live.served))
        return self.promotion.compare(self.course.candidate(), self.learned)[0]

    def take_place_of(self, live: Self, version: int, is_kept: Callable[[int, Item], bool]) -> None:
        """Goes on as what is served from ``version`` on. Alarms stand where they stood, and whoever is set aside is so, with
        those of its labels that ``is_kept`` says by number and item.
        """
        for withdrawn in self.trust.take_over(live.trust, is_kept):
            self._withdraw(torch.from_numpy(withdrawn))
        self.ordered_since = live.ordered_since if self.classes == live.classes else version
        self.mixed_since = version
        self.promotion.dismiss()
        self.retraining = None
        self._set_champion()
        self.monitor.standing &= live.monitor.standing
