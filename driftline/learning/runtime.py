"""The one protocol of parts that hold state while a model learns."""

from __future__ import annotations

from typing import Any, ClassVar, Protocol, TypeVar

import torch

from driftline.learning.examples import Examples
from driftline.learning.stateful import Stateful
from driftline.learning.training.train_state import ModuleEdit, TrainState
from driftline.learning.training.training_step import TrainingStep
from driftline.spec.registry import Behaviour, Part

P = TypeVar("P", bound=Part)


class ExampleSource(Protocol):
    """Examples that can be drawn, as a replay buffer and a holdout have them."""

    def __len__(self) -> int: ...

    def sample(self, count: int, generator: torch.Generator) -> Examples:
        """``count`` rows, drawn evenly with replacement; none while there is none."""


class Runtime(Behaviour[P], Stateful):
    """A part at work: its parameters, and its state as attributes that ``STATE`` names.

    The methods below are called as a model learns, in this order; a part overrides those that concern it. What they draw
    comes from torch's global generator, or from that of the train state.
    """

    DERIVED: ClassVar[tuple[str, ...]] = ("parameters",)

    def on_error(self, error: float) -> None:
        """Takes in the error of the next prediction that was served."""

    def on_drift(self, step: TrainingStep, replay: ExampleSource, labels: int) -> None:
        """Drift was detected, which began ``labels`` labels ago; ``replay`` are the examples kept from former steps."""

    def before_step(self, state: TrainState, new: Examples) -> None:
        """Before the updates of a step with ``new`` examples."""

    def before_update(self, state: TrainState) -> None:
        """Between a gradient and the update that follows it."""

    def after_update(self, state: TrainState, examples: Examples) -> None:
        """After an update with ``examples``."""

    def after_step(self, step: TrainingStep, new: Examples) -> None:
        """After the updates of a step with ``new`` examples; there may be none."""

    def after_edit(self, state: TrainState, edit: ModuleEdit) -> None:
        """After the module was edited: the state goes on for what was kept."""

    def metrics(self) -> dict[str, Any]:
        """What is told of the part beside the learner's other metrics."""
        return {}
