"""Who has been served: the champion, the anchor, and what they are compared on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeAlias

from torch import Tensor

from driftline.learning.examples import Examples
from driftline.learning.promotion import gate
from driftline.learning.promotion.comparison_buffer import ComparisonBuffer
from driftline.learning.promotion.gate import Comparison, Decision, GateLimits
from driftline.learning.promotion.trials import CanaryTrial, PostPromotionWatch, RejectedStreak
from driftline.learning.replay.buffers import Holdout
from driftline.learning.stateful import State, Stateful, part
from driftline.networks.clone import sibling, twin
from driftline.networks.model import Model
from driftline.networks.served_model import ServedModel
from driftline.spec import ModelSpec, parse
from driftline.spec.classes import ClassTable

Rebuild: TypeAlias = Callable[[Mapping[str, Tensor], int], ServedModel]
"""Makes a former module of the learner's network from its tensors, and from how many outputs it had."""
RebuildModel: TypeAlias = Callable[[ModelSpec, list[int | str], Mapping[str, Tensor]], Model]
"""Makes a model from its spec, its classes and the tensors of its module."""


@dataclass(frozen=True)
class Candidate:
    """A model that may be served, as version ``version``; its weights have learned so many labels."""

    model: Model
    learned: int
    version: int


@dataclass(frozen=True)
class Promotion:
    """A decision, and what it means for the learner.

    ``stay``: it goes on as it is. ``set_champion``: its weights are champion and anchor now. ``begin_again``: it goes on from
    the champion, whose weights are then champion and anchor.
    """

    decision: Decision
    move: Literal["stay", "set_champion", "begin_again"] = "stay"


class Champions(Stateful):
    """The champion is the last candidate that passed a comparison; the anchor an older one, against which small losses add up.

    They have learned ``compared_at`` and ``anchored_at`` labels. What is served may be ahead of the champion by the few labels
    between two comparisons (``is_ahead``); it is the learner's own weights of ``served_at`` labels. Beside the ``holdout``
    stand the champion's errors; ``comparison_buffer`` holds the labels that wait for the next comparison.
    """

    STATE: ClassVar[tuple[str, ...]] = (
        "champion",
        "anchor",
        "compared_at",
        "anchored_at",
        "served_at",
        "is_ahead",
        "holdout",
        "comparison_buffer",
        "rejected_streak",
        "canary",
        "promotion_watch",
    )
    DERIVED: ClassVar[tuple[str, ...]] = ("recipe", "limits", "class_table", "rebuild", "rebuild_model")

    def __init__(
        self,
        spec: ModelSpec,
        module: ServedModel,
        class_table: ClassTable,
        rebuild: Rebuild,
        rebuild_model: RebuildModel,
        limits: GateLimits = GateLimits(),  # noqa: B008
    ) -> None:
        self.recipe = spec.recipe.gate
        self.limits = limits
        self.class_table = class_table
        self.rebuild = rebuild
        self.rebuild_model = rebuild_model
        self.champion = sibling(module)
        self.anchor = twin(self.champion)
        self.compared_at = self.anchored_at = self.served_at = 0
        self.is_ahead = False
        self.holdout = Holdout(self.recipe.holdout_size, Examples.empty(spec))
        self.comparison_buffer = ComparisonBuffer(Examples.empty(spec))
        self.rejected_streak: RejectedStreak | None = None
        self.canary: CanaryTrial | None = None
        self.promotion_watch: PostPromotionWatch | None = None

    def compare(
        self, module: ServedModel, learned: int, latest: Comparison | None = None
    ) -> tuple[Decision, Tensor | None, Tensor | None]:
        """What the gate says of weights, the stream's or a retrain job's, on classes that they answer; it changes nothing.

        Args:
            latest: a comparison on labels that neither has been trained on.

        Returns:
            The decision; and how wrong the weights and the champion are on what is held out, where it came to that.
        """
        if not module.is_finite():
            return Decision(False, "its weights are not finite"), None, None
        if self.recipe.mode == "off":
            return Decision(True, "promoted unjudged: the gate is off"), None, None
        if learned < self.limits.first_labels:
            return Decision(True, f"promoted unjudged: the first {self.limits.first_labels} labels"), None, None
        comparisons = [latest] if latest is not None else []
        held, known = self.holdout.present()
        stay = module.answers(held.targets)
        own = held.take(stay)
        is_alone = latest is None or len(latest) < gate.MIN_COMPARED
        if len(own) < (gate.MIN_COMPARED if is_alone else self.limits.min_held_out):
            return gate.decide(comparisons), None, None
        errors, champions = gate.errors(module, own, in_order=False), self._errors_of_champion(held, known)
        comparisons.append(Comparison("held-out labels", errors, champions[stay]))
        if learned - self.anchored_at >= self.limits.anchor_labels:
            anchor = gate.errors(self.anchor, own, in_order=False)
            comparisons.append(Comparison("held-out labels of the anchor", errors, anchor, ("candidate", "anchor")))
        return gate.decide(comparisons), errors, champions

    def _errors_of_champion(self, held: Examples, known: Tensor) -> Tensor:
        """On what is held out; the champion does not change, and is asked only about rows of which it is not known."""
        new = known.isnan()
        return known.masked_scatter(new, gate.errors(self.champion, held.take(new), in_order=False))

    def take_error_unit(self, unit: Tensor) -> None:
        """From now on the errors of several outputs are compared in other units ``[outputs]``; those that are known go."""
        watch = self.promotion_watch
        others = [self.canary.module] if self.canary is not None else []
        for module in (self.champion, self.anchor, *others, *([watch.model.module] if watch is not None else [])):
            module.take_error_unit(unit)
        self.holdout.keep_errors(None)
        self.comparison_buffer.clear()

    def promote(self, module: ServedModel, errors: Tensor | None = None) -> None:
        """Makes ``module`` the champion. ``errors`` are those on what is held out, where they are known."""
        self.champion = module
        self.holdout.keep_errors(errors)

    def pass_gate(self, candidate: Candidate, errors: Tensor | None) -> None:
        """A candidate that has passed a comparison is the next champion."""
        learned = candidate.learned
        self.promote(sibling(candidate.model.module), errors)
        self.compared_at = self.served_at = learned
        self.is_ahead, self.rejected_streak = False, None
        if learned - self.anchored_at >= self.limits.anchor_labels or learned < self.limits.first_labels:
            self._anchor(learned)

    def set_champion(self, module: ServedModel, learned: int) -> None:
        """Makes weights champion and anchor, whatever was before."""
        self.promote(sibling(module))
        self._anchor(learned)
        self.compared_at = self.served_at = learned
        self.is_ahead, self.rejected_streak = False, None

    def _anchor(self, learned: int) -> None:
        """Makes the champion the anchor: another module, since the champion goes on to follow how answers and labels differ."""
        self.anchor, self.anchored_at = twin(self.champion), learned

    def refuse(self, decision: Decision, learned: int) -> Decision:
        """Keeps the champion; where what is served is ahead of it, the champion takes its place back."""
        self.compared_at = learned
        self.streak(learned)
        was_ahead, self.is_ahead = self.is_ahead, False
        return dataclasses.replace(decision, restored=was_ahead)

    def streak(self, learned: int) -> RejectedStreak:
        """The present streak of rejections, which begins here where there was none."""
        self.rejected_streak = self.rejected_streak or RejectedStreak(learned, self.holdout.newest, self.limits)
        return self.rejected_streak

    def watch_promotion(self, version: int, spec: ModelSpec, classes: Sequence[int | str]) -> None:
        """Lets the champion, of a model of these ``classes``, watch the version that takes its place.

        A canary ends with the champion that it ran beside.
        """
        self.canary = None
        former = Model(spec, list(classes[: self.champion.width]), self.champion)
        self.promotion_watch = PostPromotionWatch(version, former, self.class_table, self.limits)

    def packed(self, name: str) -> Any:
        value = getattr(self, name)
        if name in ("champion", "anchor"):
            return State(dict(value.state_dict()), {"width": value.width})
        if name == "canary" and value is not None:
            return _with_module(value.state_dict(), value.module, {"width": value.module.width})
        if name == "promotion_watch" and value is not None:
            model = value.model
            described = {"spec": model.spec.model_dump(mode="json"), "classes": model.classes}
            return _with_module(value.state_dict(), model.module, described)
        return super().packed(name)

    def restored(self, name: str, state: State) -> Any:
        if name in ("champion", "anchor"):
            return self.rebuild(part(state.tensors, name), state.data[name]["width"])
        if name not in ("rejected_streak", "canary", "promotion_watch"):
            return super().restored(name, state)
        if state.data[name] is None:
            return None
        own = state.below(name)
        found = self._restored_trial(name, own, part(own.tensors, "module"))
        found.load_state_dict(own)
        return found

    def _restored_trial(self, name: str, own: State, weights: Mapping[str, Tensor]) -> Stateful:
        if name == "rejected_streak":
            return RejectedStreak(own.data["since"], self.holdout.newest, self.limits)
        if name == "canary":
            return CanaryTrial(own.data["version"], self.rebuild(weights, own.data["width"]), own.data["needed"])
        model = self.rebuild_model(parse(ModelSpec, own.data["spec"]), list(own.data["classes"]), weights)
        return PostPromotionWatch(own.data["version"], model, self.class_table, self.limits)


def _with_module(state: State, module: ServedModel, described: dict[str, Any]) -> State:
    tensors = {f"module.{name}": value for name, value in module.state_dict().items()}
    return State({**state.tensors, **tensors}, {**state.data, **described})
