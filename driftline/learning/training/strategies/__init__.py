"""How a model is trained on what it is told, one strategy a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

from driftline.registry import Part, Registry

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from driftline.learning.examples import Examples
    from driftline.learning.replay.buffers import Holdout, ReplayBuffer
    from driftline.learning.training.train_state import TrainState
    from driftline.networks.served_model import ServedModel


class Strategy(Part):
    """Parameters of a strategy. One that keeps nothing of its own only chooses the examples of an update: the new ones."""

    name: str
    tasks: ClassVar[frozenset[str]] = frozenset({"classification", "regression"})
    serves_experts: ClassVar[bool] = False
    """Whether a mixture of experts is served beside the network (:func:`driftline.networks.experts.mixture.experts_of`)."""

    def batch(self, new: Examples, replay_buffer: ReplayBuffer, generator: torch.Generator) -> Examples:
        """The examples of one update.

        Args:
            new: those of the step, ``[rows]``; may be empty, as in an update that only replays.
            memory: those kept from former steps.
            generator: the only source of chance.
        """
        return new

    def start(self, train_state: TrainState) -> StrategyRuntime[Strategy]:
        """The strategy at work on ``train_state``, before its first label."""
        return StrategyRuntime(train_state, self)


S = TypeVar("S", bound=Strategy, covariant=True)


class StrategyRuntime(Generic[S]):
    """A strategy at work. What it keeps is tensors; what it changes is its train state."""

    def __init__(self, train_state: TrainState, strategy: S) -> None:
        self.train_state = train_state
        self.strategy = strategy

    def observe(self, new: Examples) -> None:
        """Before the updates of a step: lets the running scales follow the rows that they will be about."""
        self.train_state.module.observe(new.inputs, new.targets)

    def update(self, new: Examples, replay_buffer: ReplayBuffer, teacher: ServedModel | None) -> str | None:
        """One gradient update; or the reason why it was not made. ``teacher`` is an older champion, once there is one."""
        batch = self.strategy.batch(new, replay_buffer, self.train_state.generator)
        return self.train_state.training_step(batch) if len(batch) else None

    def annotate(self, new: Examples) -> Examples:
        """The step's new examples with what is to be remembered of them."""
        return new

    def update_mixture_weights(self, traces: Tensor, targets: Tensor) -> None:
        """Takes in how well the parts of what was served had done: their log-probabilities ``[rows, parts, classes]``."""

    def end_step(self, new: Examples, replay_buffer: ReplayBuffer) -> None:
        """Behind the updates of a step."""

    def on_holdout(self, holdout: Holdout, count: int) -> None:
        """Behind a step of ``count`` labels: looks at what was never trained on, which memory is no fair test of."""

    def alarm(self, replay_buffer: ReplayBuffer) -> None:
        """The world has changed."""

    def tensors(self) -> dict[str, Tensor]:
        """The state."""
        return {}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Sets the state that :meth:`tensors` gave."""

    def after_edit(
        self, before: Mapping[str, Tensor], carry: Callable[[Mapping[str, Tensor]], dict[str, Tensor]]
    ) -> None:
        """Goes on behind an edit from the state ``before``. ``carry`` maps what is named ``parameter.quantity``."""
        self.load(carry(before))

    def restart(self) -> None:
        """Begins anew from the weights of a former version, whose own state is gone."""

    def warm_start_from(self, other: StrategyRuntime[Strategy], remembered: Examples) -> None:
        """Goes on with what another strategy, or this one on another train state, has learned beside the network.

        ``remembered`` are examples of the train state's classes, for a strategy that cannot go on and begins anew.
        """


STRATEGIES = Registry(Strategy, __name__)
