"""What a learner consists of, and what of it follows when its model changes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor

from driftline.learning.course import Course
from driftline.learning.examples import Examples, RowChange
from driftline.learning.labelled_batch import usable
from driftline.learning.late_labels import LateLabels
from driftline.learning.monitoring.monitor import Monitor
from driftline.learning.old_states import FORMAT
from driftline.learning.promotion.controller import PromotionController
from driftline.learning.promotion.gate import GateLimits
from driftline.learning.replay.buffers import HalvedSource, ReplayBuffer
from driftline.learning.retraining.job import RetrainJob
from driftline.learning.retraining.recipe_changes import Versions
from driftline.learning.runtime import ExampleSource
from driftline.learning.stateful import State, Stateful, copied
from driftline.learning.trust.trust import Trust
from driftline.networks import bundle
from driftline.networks.build import rebuilt
from driftline.networks.clone import sibling
from driftline.networks.model import Model
from driftline.networks.rows.alignment import OtherFields
from driftline.networks.sealed import is_sealed
from driftline.networks.served_model import ServedModel
from driftline.networks.unit_flow import OUTPUT
from driftline.records import Item, Plan
from driftline.spec import ModelSpec
from driftline.spec.classes import ClassTable, are_in_place, class_indices
from driftline.spec.row_layout import shared_layout
from driftline.support.weakly import weakly


class LearnerState(Stateful):
    """The parts of a learner, and its state as a checkpoint keeps it.

    ``class_table`` has all classes that the model has ever known, ``monitor`` observes what is served, ``course`` is the
    training, ``replay_buffer`` holds examples for replay, ``promotion`` decides what is served, ``retraining`` is the job that
    runs beside the stream, if one does, ``late_labels`` are those of the past that are not known yet, and ``trust`` says whose
    labels are learned. Answers by versions before ``ordered_since`` count classes in another order than the present one; those
    by versions before ``mixed_since`` are mixed of other members than the present ones.
    """

    STATE: ClassVar[tuple[str, ...]] = (
        "class_table",
        "seed",
        "learned",
        "ordered_since",
        "mixed_since",
        "monitor",
        "course",
        "replay_buffer",
        "promotion",
        "retraining",
        "late_labels",
        "trust",
    )
    DERIVED: ClassVar[tuple[str, ...]] = ("factories",)

    def __init__(
        self,
        spec: ModelSpec,
        classes: Sequence[int | str],
        module: ServedModel,
        seed: int,
        factories: Collection[str],
        limits: GateLimits = GateLimits(),  # noqa: B008
        class_table: ClassTable | None = None,
    ) -> None:
        self.class_table = class_table or ClassTable(classes)
        self.seed = seed
        self.factories = list(factories)
        self.learned = 0
        self.ordered_since = 0
        self.mixed_since = 0
        self.course = Course.begin(Model(spec, list(classes), module), self.class_table, seed)
        former, former_model = weakly(self.former), weakly(self.former_model)
        self.monitor = Monitor(spec, former)
        self.replay_buffer = ReplayBuffer(spec.recipe.memory, Examples.empty(spec))
        self.promotion = PromotionController(spec, module, seed, self.class_table, former, former_model, limits)
        self.retraining: RetrainJob | None = None
        self.late_labels = LateLabels()
        self.trust = Trust(spec.recipe.trust)

    @property
    def spec(self) -> ModelSpec:
        return self.course.state.spec

    @property
    def classes(self) -> list[int | str]:
        return self.course.state.classes

    @property
    def module(self) -> ServedModel:
        return self.course.state.module

    @property
    def served(self) -> ServedModel:
        """What was published last, or is to be: the champion, or what is ahead of it."""
        return self.course.candidate() if self.promotion.is_ahead else self.promotion.champion

    def known_since(self, n: int) -> Examples:
        """The labels from record ``n`` on that are replayed or held out, of classes that are answered."""
        known = self.replay_buffer.examples.joined(self.promotion.holdout.current())
        return known.take(known.numbers >= n).answered_by(self.served)

    def replay_source(self, plan: Plan) -> ExampleSource:
        """What a step replays from."""
        return HalvedSource(self.replay_buffer, plan.halved) if plan.halved else self.replay_buffer

    def classes_of(self, module: ServedModel) -> list[int | str]:
        """The classes that a present or former module answers: those of the learner, up to its width."""
        return self.classes[: module.width]

    def former(self, weights: Mapping[str, Tensor], width: int) -> ServedModel:
        """A former module of the present network, from its tensors and the number of its outputs."""
        return self.former_model(self.spec, self.classes[:width], weights).module

    def former_model(self, spec: ModelSpec, classes: list[int | str], weights: Mapping[str, Tensor]) -> Model:
        """A former model, maybe of another network."""
        like = self.module if spec == self.spec else None
        model = Model(spec, classes, rebuilt(spec, classes, weights, self.factories, like))
        model.module.set_class_ids(self.class_table.add(classes))
        return model

    def trainable(self, items: Sequence[Item]) -> Examples:
        """Those of the items that fit, are of a class that is answered, and are not held out."""
        fitting = usable(self.spec, self.course.state.index_of, items)
        chosen = [item for item in self.trust.learned(fitting) if not self.promotion.is_held_out(item)]
        return Examples.of(self.spec, chosen, self.class_table.ids)

    def _begin_again(self) -> None:
        """Goes on from the champion."""
        champion = self.promotion.champion
        self.course.restart(Model(self.spec, self.classes_of(champion), sibling(champion)))

    def _set_champion(self) -> None:
        """Makes the present weights champion and anchor, whatever was before."""
        self.promotion.set_champion(self.course.candidate(), self.learned)
        self.monitor.dismiss_frozen_copy()

    def _follow_recipe(self) -> None:
        """Lets all that is not trained follow the recipe."""
        self.monitor.follow_recipe(self.spec)
        if self.spec.recipe.memory != self.replay_buffer.policy.parameters:
            self._renew_replay_buffer(self.replay_buffer.examples)
        self.promotion.follow_recipe(self.spec)
        self.trust.recipe = self.spec.recipe.trust

    def _renew_replay_buffer(self, examples: Examples) -> None:
        """Keeps these examples, as the recipe's replay policy does, and no others."""
        self.replay_buffer = ReplayBuffer(self.spec.recipe.memory, Examples.empty(self.spec))
        self.replay_buffer.add(examples, self.course.state.generator)

    def _carry(self, change: RowChange) -> None:
        """Brings the examples that are kept to what they would be now: they stay true of the network's inputs."""
        self.replay_buffer.carry(change)
        self.promotion.carry(change)
        self.monitor.recent.carry(change)

    def _follow_fields(self, former: ModelSpec) -> None:
        """Gives the examples that are kept the present fields."""
        if self.spec.fields is None:
            return
        shared = shared_layout(former.layout, self.spec.layout)
        if not shared.tensors == former.layout.tensors == self.spec.layout.tensors:
            self._carry(OtherFields(shared, self.spec.layout))

    def _follow_classes(self, former: Sequence[int | str], version: int) -> None:
        """Keeps examples of classes that are answered; notes where these are in another order from ``version`` on."""
        if are_in_place(class_indices(former, self.classes)):
            return
        self.ordered_since = version
        self.course.weight_hooks.reclass()
        self._renew_replay_buffer(self.replay_buffer.examples.answered_by(self.module).without_notes())
        self.monitor.recent.keep_answered(self.module)
        self.promotion.keep_answered(self.module)

    def _remind(self, course: Course, versions: Versions) -> None:
        """Gives weight hooks the weights of versions that they name, as far as these count the course's classes."""
        course.weight_hooks.remember(self._in_order(versions))
        if not are_in_place(class_indices(self.classes, course.classes)):
            course.weight_hooks.reclass()

    def _in_order(self, versions: Versions) -> Versions:
        """Weights of versions, without the outputs of those that count classes in another order."""
        return {
            number: {
                name: value
                for name, value in weights.items()
                if number >= self.ordered_since or not name.startswith(f"{OUTPUT}.")
            }
            for number, weights in versions.items()
        }

    def packed(self, name: str) -> Any:
        return self.class_table.names if name == "class_table" else super().packed(name)

    def digest(self) -> str:
        """16 hexadecimal digits that stand for every weight and buffer, and for the count of what was learned."""
        return bundle.digest_of(self.module, str(self.learned))

    def former_digest(self) -> str:
        """What a former release had as :meth:`digest`, which read large frozen parameters each time."""
        return bundle.digest_of(self.module, str(self.learned), reads_all=True)

    def metrics(self) -> dict[str, Any]:
        """What is measured: scores, alarms, forgetting, how much is kept, the ``learning_rate``, and what hooks tell."""
        return {
            **self.monitor.shown(),
            "held_out": len(self.promotion.holdout),
            "memory": len(self.replay_buffer),
            "learning_rate": self.course.learning_rate,
            **({} if self.trust.is_idle else {"labellers": self.trust.shown()}),
            **self.course.metrics(),
        }

    def restored(self, name: str, state: State) -> Any:
        if name == "class_table":
            return self.class_table
        if name == "trust" and name not in state.data:
            # Nothing was known of whom labels come from, as in former releases.
            return self.trust
        if name == "mixed_since":
            # In former releases no concept returned.
            return state.data.get(name, 0)
        if name == "retraining":
            described = state.data[name]
            return (
                None
                if described is None
                else RetrainJob.from_state(state.below(name), self.class_table, self.factories)
            )
        return super().restored(name, state)

    def state_dict(self) -> State:
        """The whole state, independent of what the learner does next."""
        state = self.present_state()
        tensors = {name: value if is_sealed(value) else value.clone() for name, value in state.tensors.items()}
        return State(tensors, copied(state.data))

    def present_state(self) -> State:
        """The whole state in the tensors that the learner goes on with: they are what they are until it does."""
        state = super().state_dict()
        described = {"format": FORMAT, "spec": self.spec.model_dump(mode="json"), "classes": self.classes}
        tensors = {name: value.detach() for name, value in state.tensors.items()}
        if self.trust.is_idle:
            del state.data["trust"]
            tensors = {name: value for name, value in tensors.items() if not name.startswith("trust.")}
        return State(tensors, {**described, **state.data})
