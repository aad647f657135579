"""Which version is served: what is held out, what is compared, and how a candidate takes the champion's place."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

from driftline.learning.examples import Examples, RowChange
from driftline.learning.labelled_batch import LabelledBatch
from driftline.learning.promotion import gate
from driftline.learning.promotion.champions import Candidate, Champions, Promotion, Rebuild, RebuildModel
from driftline.learning.promotion.gate import Comparison, GateLimits
from driftline.learning.promotion.modes import MODES
from driftline.learning.promotion.trials import PostPromotionWatch
from driftline.learning.replay.buffers import Holdout
from driftline.learning.training.train_state import ReferenceModels
from driftline.networks.served_model import ServedModel
from driftline.records import Item
from driftline.rows.rows import recorded_names
from driftline.spec import ModelSpec
from driftline.spec.classes import ClassTable


class PromotionController(Champions):
    """Decides what is served, by what is held out, by the newest labels, and by how answers turned out."""

    DERIVED = ("inputs", "key")

    def __init__(
        self,
        spec: ModelSpec,
        module: ServedModel,
        seed: int,
        class_table: ClassTable,
        rebuild: Rebuild,
        rebuild_model: RebuildModel,
        limits: GateLimits = GateLimits(),  # noqa: B008
    ) -> None:
        super().__init__(spec, module, class_table, rebuild, rebuild_model, limits)
        self.inputs = recorded_names(spec)
        self.key = seed.to_bytes(16, "big", signed=True)

    @property
    def references(self) -> ReferenceModels:
        """What training is held to: the champion, and the anchor to distil from, once that has learned something."""
        return ReferenceModels(self.champion, self.anchor if self.anchored_at >= self.limits.first_labels else None)

    def hold_out(self, batch: LabelledBatch, learned: int) -> LabelledBatch:
        """Keeps a share of the labels from training, and gives the others.

        The first labels teach the most: none is held out until as many have come as hold out enough to judge by.
        """
        first = self.limits.min_held_out / self.recipe.holdout if self.recipe.holdout else 0
        held = [n >= first and self.is_held_out(item) for n, item in enumerate(batch.items, learned)]
        if not any(held):
            return batch
        self.holdout.add(batch.where(held).examples)
        return batch.where([not is_held for is_held in held])

    def is_held_out(self, item: Item) -> bool:
        """Decided by a keyed hash of the inputs, so that duplicates fall on one side."""
        if item.route != "live" or not self.holdout.size:
            return False
        digest = hashlib.blake2b(b"".join(item.inputs[name] for name in self.inputs), digest_size=8, key=self.key)
        return int.from_bytes(digest.digest(), "big") < self.recipe.holdout * 2**64

    def revise(self, corrected: Examples) -> None:
        """Lets what candidates are judged by follow the labels that facts have now."""
        self.holdout.revise(corrected)
        self.comparison_buffer.leave_out(corrected.numbers)

    def leave_out(self, numbers: Tensor) -> None:
        """Judges no longer by labels of these log numbers."""
        held = self.holdout.current()
        if bool((is_gone := torch.isin(held.numbers, numbers)).any()):
            self._renew_holdout(held.take(~is_gone))
        self.comparison_buffer.leave_out(numbers)

    def observe(self, errors: Sequence[tuple[Item, float]]) -> None:
        """Takes in how wrong served answers were: those of a canary, and of a version that has just taken over."""
        if self.canary is not None:
            for item, error in errors:
                self.canary.observe(item, error)
        if self.promotion_watch is not None:
            live = [(item, error) for item, error in errors if item.route == "live"]
            self.promotion_watch.observe([item for item, _ in live], [error for _, error in live])

    def watch(self, live: LabelledBatch, errors: Sequence[float], candidate: Candidate) -> None:
        """Takes in how wrong a candidate is on live labels before it learns them.

        Args:
            errors: those of the answers that were served to them, where all bring one.
        """
        if self.recipe.mode in ("manual", "off"):
            return  # Nobody compares.
        was_served = candidate.learned == self.served_at and len(errors) == len(live)
        if was_served and all(item.answer and item.answer.version == candidate.version - 1 for item in live.items):
            found = torch.tensor(errors, dtype=torch.float32)
        else:
            found = gate.errors(candidate.model.module, live.examples)
        self.comparison_buffer.add(live.examples, found)

    def compare_latest(self, learned: int, arriving: int) -> Comparison | None:
        """Candidate and champion on the labels since the last comparison, where one is due.

        Few labels cannot tell a loss from chance: steps of a few are compared together, unless the last one failed.
        """
        is_due = learned + arriving - self.compared_at >= self.limits.labels_between
        if not (is_due or not arriving or self.rejected_streak is not None or learned < self.limits.first_labels):
            return None
        return self.comparison_buffer.compare(self.champion)

    def decide(self, candidate: Candidate, latest: Comparison | None) -> Promotion | None:
        """The gate over what the stream has taught, as the recipe's mode has it; None where it is decided later.

        Args:
            latest: the comparison on the newest labels, where one is due.
        """
        return MODES[self.recipe.mode](self, candidate, latest)

    def held_out_error(self, module: ServedModel) -> float:
        """The mean error on what is held out; :class:`ValueError` where that is too little to judge by."""
        held, needed = self.holdout.current(), self.limits.min_held_out
        if len(held) < needed:
            raise ValueError(f"{len(held)} held-out labels are too few to judge by; {needed} are needed")
        return float(gate.errors(module, held, in_order=False).double().mean())

    def end_promotion_watch(self) -> PostPromotionWatch | None:
        """Ends a watch that is over; gives the one whose version has harmed, and is to be rolled back."""
        watch = self.promotion_watch
        if watch is None or not (watch.has_harmed or watch.is_over):
            return None
        self.promotion_watch = None
        return watch if watch.has_harmed else None

    def dismiss(self) -> None:
        """Ends canary and watch undecided: the champion did not come of them."""
        self.canary = self.promotion_watch = None

    def follow_recipe(self, spec: ModelSpec) -> None:
        """Goes on by another recipe."""
        before, self.recipe = self.recipe, spec.recipe.gate
        if self.recipe.holdout_size != before.holdout_size:
            self._renew_holdout(self.holdout.current())

    def keep_answered(self, module: ServedModel) -> None:
        """Keeps the examples of classes that the module answers, whose weights are about to become the champion."""
        self._renew_holdout(self.holdout.current().answered_by(module).without_notes())
        self.comparison_buffer.keep_answered(module)

    def carry(self, change: RowChange) -> None:
        """Brings examples to what they would be now."""
        self.holdout.carry(change)
        self.comparison_buffer.carry(change)

    def _renew_holdout(self, held: Examples) -> None:
        """Holds these out, and no others."""
        self.holdout = Holdout(self.recipe.holdout_size, held.take(slice(0, 0)))
        self.holdout.add(held)
