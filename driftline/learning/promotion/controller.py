"""Who is served: the champion, and how a candidate takes its place."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from driftline.learning.examples import Examples
from driftline.learning.labelled_batch import LabelledBatch
from driftline.learning.promotion import gate
from driftline.learning.promotion.comparison_buffer import ComparisonBuffer
from driftline.learning.promotion.gate import Comparison, Decision
from driftline.learning.promotion.trials import CanaryTrial, PostPromotionWatch, RejectedStreak
from driftline.learning.replay.buffers import Holdout
from driftline.learning.stateful import Former, State, named, part
from driftline.learning.training.train_state import ReferenceModels
from driftline.networks.build import ServedModel
from driftline.networks.clone import clone
from driftline.records import Item
from driftline.spec import ModelSpec


@dataclass(frozen=True)
class Candidate:
    """Weights that want to be served, as version ``version``; and the model as it is after ``learned`` labels."""

    spec: ModelSpec
    classes: list[int | str]
    module: ServedModel
    learned: int
    version: int


@dataclass(frozen=True)
class Promotion:
    """A decision, and what it means for the learner.

    ``stay``: it goes on as it is. ``set_champion``: its weights are champion and anchor now. ``begin_again``: it goes on from the
    champion, and its weights are then champion and anchor.
    """

    decision: Decision
    move: Literal["stay", "crown", "begin_again"] = "stay"


class PromotionController:
    """Decides who is served, by what is held out, by the newest labels, and by how answers turned out.

    ``champion`` is the last that has passed a comparison, ``anchor`` an older one, against which small losses add up; they
    came after ``judged_at`` and ``anchored_at`` labels. What is served may be ahead of the champion by the few labels between
    two comparisons (``is_ahead``); it is the learner's own weights of ``served_at`` labels. Beside the ``holdout`` stand the
    champion's errors; ``latest`` are labels that wait for the next comparison.
    """

    def __init__(self, spec: ModelSpec, module: ServedModel, seed: int) -> None:
        self.recipe = spec.recipe.gate
        self.inputs = list(spec.tensors)
        self.key = seed.to_bytes(16, "big", signed=True)
        self.holdout = Holdout(self.recipe.holdout_size, Examples.empty(spec))
        self.champion = self.anchor = clone(module)
        self.judged_at = self.anchored_at = self.served_at = 0
        self.is_ahead = False
        self.latest = ComparisonBuffer(Examples.empty(spec))
        self.trial: RejectedStreak | None = None
        self.canary: CanaryTrial | None = None
        self.promotion_watch: PostPromotionWatch | None = None

    @property
    def references(self) -> ReferenceModels:
        """Whom a train state is held to: the champion, and as its teacher the anchor, once that has learned something."""
        return ReferenceModels(self.champion, self.anchor if self.anchored_at >= gate.FIRST_LABELS else None)

    def hold_out(self, labelled_batch: LabelledBatch, learned: int) -> LabelledBatch:
        """Keeps a share of the labels from training, and gives the others.

        The first labels teach the most: none is kept until as many have come as hold out enough to judge by.
        """
        first = gate.FEWEST_HELD_OUT / self.recipe.holdout if self.recipe.holdout else 0
        held = [n >= first and self.is_held_out(item) for n, item in enumerate(labelled_batch.items, learned)]
        self.holdout.add(labelled_batch.where(held).examples)
        return labelled_batch.where([not is_held for is_held in held])

    def is_held_out(self, item: Item) -> bool:
        """Decided by a keyed hash of the inputs, so that duplicates fall on one side."""
        if item.route != "live" or not self.holdout.size:
            return False
        digest = hashlib.blake2b(b"".join(item.inputs[name] for name in self.inputs), digest_size=8, key=self.key)
        return int.from_bytes(digest.digest(), "big") < self.recipe.holdout * 2**64

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
            found = gate.errors(candidate.module, live.examples)
        self.latest.add(live.examples, found)

    def compare_latest(self, learned: int, arriving: int) -> Comparison | None:
        """Candidate and champion on the labels since the last comparison, where one is due.

        Few labels cannot tell a loss from chance: steps of a few are compared together, unless the last one failed.
        """
        is_due = learned + arriving - self.judged_at >= gate.COMPARED_LABELS
        if not (is_due or not arriving or self.trial is not None or learned < gate.FIRST_LABELS):
            return None
        return self.latest.compare(self.champion)

    def decide(self, candidate: Candidate, latest: Comparison | None) -> Promotion | None:
        """The gate over what the stream has taught; None where it waits for somebody or something else to decide.

        Args:
            latest: the comparison on the newest labels, where one is due.
        """
        if self.recipe.mode == "manual":
            return None
        if self.recipe.mode == "canary" and candidate.learned >= gate.FIRST_LABELS:
            return self._decide_canary(candidate)
        if latest is not None:
            return self._judge(candidate, latest)
        if not gate.is_finite(candidate.module):
            return Promotion(self._refuse(Decision(False, "its weights are not finite"), candidate.learned))
        self.is_ahead, self.served_at = True, candidate.learned
        return Promotion(Decision(True, f"{candidate.learned - self.judged_at} labels since the last comparison"))

    def _judge(self, candidate: Candidate, latest: Comparison) -> Promotion:
        """Compares; a candidate that passes is the next champion."""
        learned = candidate.learned
        decision, errors, champions = self._compare(candidate.module, learned, latest)
        if not decision.promoted:
            self.holdout.keep_errors(champions)
            self.trial = self.trial or RejectedStreak(learned)
            self.trial.observe(latest)
            return self._end_trial(self.trial, candidate) or Promotion(self._refuse(decision, learned))
        self._promote(clone(candidate.module), errors)
        self.judged_at = self.served_at = learned
        self.is_ahead, self.trial = False, None
        if learned - self.anchored_at >= gate.ANCHOR_LABELS or learned < gate.FIRST_LABELS:
            self.anchor, self.anchored_at = self.champion, learned
        return Promotion(decision)

    def compare(
        self, module: ServedModel, learned: int, latest: Comparison | None = None, indices: Sequence[int | None] = ()
    ) -> Decision:
        """What the gate says of weights, the stream's or a retrain job's; nothing is changed by it.

        Args:
            indices: by which the module counts the learner's classes, where it has others: it is judged on those of both.
        """
        return self._compare(module, learned, latest, indices)[0]

    def _compare(
        self, module: ServedModel, learned: int, latest: Comparison | None, indices: Sequence[int | None] = ()
    ) -> tuple[Decision, Tensor | None, Tensor | None]:
        """What the gate says of weights; and how wrong they and the champion are on what is held out, where it came to that."""
        if not gate.is_finite(module):
            return Decision(False, "its weights are not finite"), None, None
        if self.recipe.mode == "off":
            return Decision(True, "the gate is off"), None, None
        if learned < gate.FIRST_LABELS:
            return Decision(True, f"the first {gate.FIRST_LABELS} labels"), None, None
        comparisons = [latest] if latest is not None else []
        held, known = self.holdout.present()
        own, stay = held.reclassed(indices), held.stay(indices)
        if len(own) < gate.FEWEST_HELD_OUT:
            return gate.decide(comparisons), None, None
        errors, champions = gate.errors(module, own, in_order=False), self._errors_of_champion(held, known)
        comparisons.append(Comparison("held-out labels", errors, champions[stay]))
        if learned - self.anchored_at >= gate.ANCHOR_LABELS:
            anchor = gate.errors(self.anchor, held.take(stay), in_order=False)
            comparisons.append(Comparison("held-out labels of the anchor", errors, anchor))
        return gate.decide(comparisons), errors, champions

    def _errors_of_champion(self, held: Examples, known: Tensor) -> Tensor:
        """On what is held out; it stands still, and is asked only about rows of which it is not known."""
        new = known.isnan()
        return known.masked_scatter(new, gate.errors(self.champion, held.take(new), in_order=False))

    def held_out_error(self, module: ServedModel) -> float:
        """The mean error on what is held out; :class:`ValueError` where that is too little to judge by."""
        held = self.holdout.current()
        if len(held) < gate.FEWEST_HELD_OUT:
            raise ValueError(f"{len(held)} held-out labels are too few to judge by; {gate.FEWEST_HELD_OUT} are needed")
        return float(gate.errors(module, held, in_order=False).double().mean())

    def _end_trial(self, trial: RejectedStreak, candidate: Candidate) -> Promotion | None:
        """Crowns what was refused where the newest labels speak for it, and lets it begin again where they never do."""
        if not gate.is_finite(candidate.module) or not (trial.is_won or trial.is_lost(candidate.learned)):
            return None
        self.holdout.on_drift()
        return Promotion(trial.decide(candidate.learned), "crown" if trial.is_won else "begin_again")

    def _refuse(self, decision: Decision, learned: int) -> Decision:
        """Keeps the champion; where what is served has gone ahead of it, it is taken back."""
        self.judged_at, self.trial = learned, self.trial or RejectedStreak(learned)
        was_ahead, self.is_ahead = self.is_ahead, False
        return dataclasses.replace(decision, restored=was_ahead)

    def _decide_canary(self, candidate: Candidate) -> Promotion | None:
        """Begins a canary where there is none, and ends one that has been labelled often enough."""
        if self.canary is None:
            if candidate.learned == self.judged_at or not gate.is_finite(candidate.module):
                return None
            needed = self.recipe.labels
            self.canary = CanaryTrial(candidate.version, clone(candidate.module), needed)
            self.judged_at = candidate.learned
            return Promotion(Decision(False, f"canary: judged at {needed} labels of its answers", canary="begun"))
        if not self.canary.is_due:
            return None
        decision, canary, self.canary = self.canary.decide(), self.canary, None
        if decision.promoted:
            self.watch_promotion(canary.version, candidate.spec, candidate.classes)
            self._promote(canary.module)
            self.is_ahead = False
        return Promotion(dataclasses.replace(decision, canary="ended"))

    def watch_promotion(self, version: int, spec: ModelSpec, classes: Sequence[int | str]) -> None:
        """Lets the champion, of a model of these ``classes``, look over the shoulder of the version that takes its place.

        A canary ends with the champion that it ran beside.
        """
        self.canary = None
        self.promotion_watch = PostPromotionWatch(version, spec, list(classes[: self.champion.width]), self.champion)

    def end_promotion_watch(self) -> PostPromotionWatch | None:
        """Ends a probation that is over; gives the one whose version has harmed, and is to be rolled back."""
        promotion_watch = self.promotion_watch
        if promotion_watch is None or not (promotion_watch.has_harmed or promotion_watch.is_over):
            return None
        self.promotion_watch = None
        return promotion_watch if promotion_watch.has_harmed else None

    def set_champion(self, module: ServedModel, learned: int) -> None:
        """Makes weights champion and anchor, whatever was before."""
        self._promote(clone(module))
        self.anchor = self.champion
        self.judged_at = self.anchored_at = self.served_at = learned
        self.is_ahead, self.trial = False, None

    def _promote(self, module: ServedModel, errors: Tensor | None = None) -> None:
        self.champion = module
        self.holdout.keep_errors(errors)

    def dismiss(self) -> None:
        """Ends canary and probation undecided: the champion did not come of them."""
        self.canary = self.promotion_watch = None

    def follow_recipe(self, spec: ModelSpec) -> None:
        """Goes on by another recipe."""
        before, self.recipe = self.recipe, spec.recipe.gate
        if self.recipe.holdout_size != before.holdout_size:
            self._renew_holdout(self.holdout.current())

    def reclass(self, indices: Sequence[int | None]) -> None:
        """Counts classes by the new indices of a learner whose weights are about to be crowned."""
        self._renew_holdout(self.holdout.current().reclassed(indices))
        self.latest.reclass(indices)

    def _renew_holdout(self, held: Examples) -> None:
        """Holds these out, and no others; they have other numbers now."""
        self.holdout = Holdout(self.recipe.holdout_size, held.take(slice(0, 0)))
        self.holdout.add(held)

    def tensors(self) -> dict[str, Tensor]:
        return {
            **named("champion", self.champion.state_dict()),
            **named("anchor", self.anchor.state_dict()),
            **named("holdout", self.holdout.state_dict().tensors),
            **named("latest", self.latest.tensors()),
            **(named("canary", self.canary.tensors()) if self.canary else {}),
            **(named("probation", self.promotion_watch.tensors()) if self.promotion_watch else {}),
        }

    def data(self) -> dict[str, Any]:
        return {
            "champion_width": self.champion.width,
            "anchor_width": self.anchor.width,
            "judged_at": self.judged_at,
            "anchored_at": self.anchored_at,
            "served_at": self.served_at,
            "is_ahead": self.is_ahead,
            "holdout": self.holdout.state_dict().data,
            "trial": self.trial.data() if self.trial else None,
            "canary": self.canary.data() if self.canary else None,
            "probation": self.promotion_watch.data() if self.promotion_watch else None,
        }

    def load(
        self, tensors: Mapping[str, Tensor], data: Mapping[str, Any], former: Former, factories: Sequence[str]
    ) -> None:
        """Sets the state that :meth:`tensors` and :meth:`data` gave."""
        self.champion = former(part(tensors, "champion"), data["champion_width"])
        self.anchor = former(part(tensors, "anchor"), data["anchor_width"])
        for name in ("judged_at", "anchored_at", "served_at", "is_ahead"):
            setattr(self, name, data[name])
        self.holdout.load_state_dict(State(part(tensors, "holdout"), data["holdout"]))
        self.latest.load(part(tensors, "latest"))
        self.trial = RejectedStreak(**data["trial"]) if data["trial"] else None
        self.canary = (
            CanaryTrial.from_state(part(tensors, "canary"), data["canary"], former) if data["canary"] else None
        )
        if data["probation"]:
            self.promotion_watch = PostPromotionWatch.from_state(
                part(tensors, "probation"), data["probation"], factories
            )
