"""Training under way: a train state, and all that takes part in training it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from driftline.learning.examples import Examples
from driftline.learning.runtime import ExampleSource, Runtime
from driftline.learning.stateful import State, Stateful
from driftline.learning.training.averaging import WeightAveraging, weight_averaging
from driftline.learning.training.schedules import ScheduleRuntime, schedule_runtime
from driftline.learning.training.strategies import StrategyRuntime, strategy_runtime
from driftline.learning.training.train_state import TrainState
from driftline.learning.training.training_step import TrainingStep
from driftline.learning.training.weight_hooks import WeightHooks, check_hooks
from driftline.networks.edit_session import EditResult
from driftline.networks.edits import apply_edit
from driftline.networks.experts.serving import experts_of
from driftline.networks.model import Model
from driftline.networks.served_model import Rescaling, ServedModel
from driftline.spec import ModelSpec
from driftline.spec.classes import ClassTable, added
from driftline.spec.parts.edits.weights import AddClasses


class Course(Stateful):
    """Trains the module of a ``state`` by its recipe: the schedule, the weight hooks, the averaging and the strategy at work.

    ``step`` is the gradient update that they share.
    """

    STATE = ("state", "schedule", "weight_hooks", "averaging", "strategy")
    DERIVED = ("step",)

    def __init__(
        self,
        state: TrainState,
        schedule: ScheduleRuntime[Any],
        weight_hooks: WeightHooks,
        averaging: WeightAveraging[Any] | None,
        strategy: StrategyRuntime[Any],
    ) -> None:
        self.state = state
        self.schedule = schedule
        self.weight_hooks = weight_hooks
        self.averaging = averaging
        self.strategy = strategy
        self.step = self._step()

    @classmethod
    def begin(cls, model: Model, table: ClassTable, seed: int) -> Course:
        """The training of a model before its first label; ``seed`` is what its random draws start from."""
        state, recipe = TrainState(model, table, seed), model.spec.recipe
        return cls(
            state,
            schedule_runtime(recipe.optimizer.schedule, state.labels),
            WeightHooks(state),
            weight_averaging(recipe.averaging, state) if recipe.averaging is not None else None,
            strategy_runtime(state),
        )

    @property
    def spec(self) -> ModelSpec:
        return self.state.spec

    @property
    def classes(self) -> list[int | str]:
        return self.state.classes

    @property
    def module(self) -> ServedModel:
        return self.state.module

    @property
    def learning_rate(self) -> float:
        """The rate of the next update, as the schedule has it; that of a layer is a share of it."""
        return self.step.learning_rate

    def candidate(self) -> ServedModel:
        """What is put to the gate and served: the module, or a copy with the mean of its weights where the recipe averages."""
        return self.averaging.candidate(self.state.module) if self.averaging is not None else self.state.module

    def metrics(self) -> dict[str, Any]:
        """What the parts tell."""
        return {name: value for part in self._parts() for name, value in part.metrics().items()}

    def _parts(self) -> list[Runtime[Any]]:
        """All parts, in the order in which they hear of what happens."""
        return [self.schedule, *self._update_hooks(), self.strategy]

    def _update_hooks(self) -> list[Runtime[Any]]:
        """A mean is of weights that all else has changed."""
        hooks: list[Runtime[Any]] = [*self.weight_hooks.by_field.values()]
        return [*hooks, self.averaging] if self.averaging is not None else hooks

    def _step(self) -> TrainingStep:
        return TrainingStep(self.state, self.schedule, self._update_hooks())

    def on_error(self, error: float) -> None:
        """Takes in the error of a prediction that was served."""
        for part in self._parts():
            part.on_error(error)

    def on_drift(self, replay: ExampleSource, labels: int) -> None:
        """Drift was detected, which began ``labels`` labels ago."""
        for part in self._parts():
            part.on_drift(self.step, replay, labels)

    def on_decision(self, is_promoted: bool) -> None:
        """The gate has decided about the present weights."""
        if not is_promoted:
            self.strategy.on_refusal(self.state)

    def read(self, new: Examples) -> tuple[Examples, Rescaling | None]:
        """Lets the encoder follow rows that are about to be learned; they keep what it knew of them before.

        Gives also what has come into another unit: what is kept of former rows must be carried there.
        """
        with_statistics = new.with_inputs(self.module.with_statistics(new.inputs))
        rescaling = self.module.observe_rows(new.inputs, new.targets, new.weights)
        if rescaling is not None:
            self.strategy.carry(self.state, rescaling)
        return with_statistics, rescaling

    def take_encoder(self, stream: Course) -> None:
        """Goes on with what a stream's encoder has learned meanwhile of the fields that it has, and with its intervals."""
        self.module.follow_errors(stream.module)
        own, other = self.module.encoder, stream.module.encoder
        if own is not None and other is not None:
            self.module.encoder = other.widened(own.layout)

    def before_step(self, new: Examples) -> Rescaling | None:
        """Lets the parts, the scales and the counts follow labels that are about to be learned.

        Gives what has come into another unit: what is kept of former rows must be carried there.
        """
        for part in self._parts():
            part.before_step(self.state, new)
        rescaling = self.strategy.follow_scales(self.state, new)
        if rescaling is not None:
            self.strategy.carry(self.state, rescaling)
        self.state.count(new)
        self.state.labels += len(new)
        return rescaling

    def update(self, new: Examples, replay: ExampleSource) -> str | None:
        """One update, as the strategy makes it; or the reason why it was not made."""
        return self.strategy.update(self.step, new, replay)

    def after_step(self, new: Examples) -> None:
        """After the updates of a step with ``new`` examples."""
        for part in self._parts():
            part.after_step(self.step, new)

    def follow_recipe(self, spec: ModelSpec, remembered: Examples) -> None:
        """Goes on by another recipe; another optimizer, strategy, schedule, hook or averaging starts fresh.

        Args:
            remembered: examples of the state's classes, which another strategy may start from.
        """
        before = self.spec
        self.state.follow_recipe(spec)
        self._follow_schedule()
        if spec.strategy != before.strategy:
            self.renew_strategy(self.strategy, self.classes, remembered)
        self.weight_hooks.follow_recipe(self.state)
        self._follow_averaging()
        self.step = self._step()

    def _follow_schedule(self) -> None:
        schedule = self.spec.recipe.optimizer.schedule
        if schedule != self.schedule.parameters:
            self.schedule = schedule_runtime(schedule, self.state.labels)

    def _follow_averaging(self) -> None:
        wanted = self.spec.recipe.averaging
        if wanted != (self.averaging.parameters if self.averaging is not None else None):
            self.averaging = weight_averaging(wanted, self.state) if wanted is not None else None

    def renew_strategy(self, before: StrategyRuntime[Any], classes: Sequence[int | str], remembered: Examples) -> None:
        """Lets the spec's strategy go on from another; what that serves beside the network is taken over, or made again.

        Args:
            classes: those that the strategy ``before`` knows.
            remembered: examples of the state's classes.
        """
        self.module.experts = experts_of(self.spec, self.module.width)
        self.strategy = strategy_runtime(self.state)
        self.strategy.warm_start_from(self.state, before, classes, remembered)

    def begin_experts(self, remembered: Examples) -> None:
        """Lets a mixture begin where the spec has one and the module none: a former release served the network alone.

        Args:
            remembered: what the stream's replay buffer keeps.
        """
        if self.module.experts is None and experts_of(self.spec, self.module.width) is not None:
            self.renew_strategy(self.strategy, self.classes, remembered.answered_by(self.module))

    def relearn(self, remembered: Examples) -> None:
        """Lets what the strategy serves beside the network begin again, from these examples of the state's classes alone."""
        if self.module.experts is not None:
            self.module.experts = experts_of(self.spec, self.module.width)
            self.strategy.relearn(self.state, remembered)

    def leave_experts(self) -> None:
        """Goes on without what the strategy serves beside the network; :meth:`renew_strategy` brings it back."""
        self.module.experts = None
        self.strategy = strategy_runtime(self.state)

    def restart(self, model: Model) -> None:
        """Goes on from the weights of ``model``, knowing nothing else of them; present classes that it has not are added."""
        former, classes = self.strategy, self.classes
        more = added(model.classes, classes)
        self.state.restart(_with_classes(model, more).model if more else model)
        self.strategy = strategy_runtime(self.state)
        self.strategy.after_restart(self.state, former, classes)
        self.weight_hooks.follow_recipe(self.state)
        self.weight_hooks.restart(self.state)
        self._follow_schedule()
        self._follow_averaging()
        if self.averaging is not None:
            self.averaging.restart(self.state)
        self.step = self._step()

    def add_classes(self, classes: Sequence[int | str]) -> None:
        """Answers more classes."""
        if classes:
            self.replace(_with_classes(self.state.model, classes))

    def replace(self, edited: EditResult) -> None:
        """Goes on with an edited module; the optimizer and the parts keep their state for what was kept."""
        edit = self.state.replace(edited)
        check_hooks(self.spec.recipe, self.module)
        for part in self._parts():
            part.after_edit(self.state, edit)
        self.step = self._step()

    def load_state_dict(self, state: State) -> None:
        super().load_state_dict(state)
        self.step = self._step()


def _with_classes(model: Model, more: Sequence[int | str]) -> EditResult:
    return apply_edit(AddClasses(classes=list(more)), model)
