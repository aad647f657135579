"""How a model is trained on what it is told, one strategy a file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from driftline.learning.examples import Examples
from driftline.learning.runtime import ExampleSource, Runtime
from driftline.learning.training.returned import Return
from driftline.learning.training.train_state import TrainState
from driftline.learning.training.training_step import TrainingStep
from driftline.networks.served_model import Rescaling
from driftline.spec.parts.strategies import Strategy
from driftline.spec.registry import Behaviours

S = TypeVar("S", bound=Strategy)


class StrategyRuntime(Runtime[S]):
    """A strategy at work. One that keeps nothing of its own only chooses the examples of an update: the new ones."""

    def __init__(self, parameters: S, state: TrainState) -> None:
        super().__init__(parameters)
        self.restart(state)

    def restart(self, state: TrainState) -> None:
        """Sets the state before the first label that is learned by it."""

    def batch(self, new: Examples, replay: ExampleSource, generator: torch.Generator) -> Examples:
        """The examples of one update.

        Args:
            new: those of the step, ``[rows]``; may be empty, as in an update that only replays.
            replay: those kept from former steps.
            generator: the only source of random draws.
        """
        return new

    def follow_scales(self, state: TrainState, new: Examples) -> Rescaling | None:
        """Lets the running scales follow the rows that the updates will be about; gives what has come into another unit."""
        return state.module.observe(new.inputs, new.targets)

    def carry(self, state: TrainState, rescaling: Rescaling) -> None:
        """Brings what is kept of rows that came in former units into the present ones."""

    def update(self, step: TrainingStep, new: Examples, replay: ExampleSource) -> str | None:
        """One gradient update; or the reason why it was not made."""
        batch = self.batch(new, replay, step.state.generator)
        return step(batch) if len(batch) else None

    def annotate(self, state: TrainState, new: Examples) -> Examples:
        """The step's new examples with what is to be remembered of them."""
        return new

    def update_mixture_weights(self, state: TrainState, member_outputs: Tensor, examples: Examples) -> None:
        """Takes in how well the members of what was served had done: their log-probabilities ``[rows, members, classes]``, or
        values, for labelled examples.
        """

    def revise(self, state: TrainState, corrected: Examples) -> Tensor:
        """Gives what the strategy keeps of rows the labels that these have now; which of them it still keeps ``[rows]``."""
        return torch.zeros(len(corrected), dtype=torch.bool)

    def on_served(self, state: TrainState, examples: Examples, losses: Sequence[float]) -> Return | None:
        """Labels have come to rows that were answered; gives what there is to tell where something that was learned before is
        gone on with.

        Args:
            losses: of each answer, its Brier score or its error.
        """
        return None

    def on_holdout(self, state: TrainState, holdout: ExampleSource, count: int) -> None:
        """After a step of ``count`` labels: looks at what was never trained on, which replayed examples are no fair test of."""

    def on_refusal(self, state: TrainState) -> None:
        """The gate has refused the present weights: what gives no numbers among them begins again."""

    def warm_start_from(
        self, state: TrainState, other: StrategyRuntime[Any], classes: Sequence[int | str], remembered: Examples
    ) -> None:
        """Goes on with what another strategy, or this one on another train state, has learned beside the network.

        Args:
            classes: those of the other's train state.
            remembered: examples of the train state's own classes, for a strategy that cannot go on and begins again.
        """

    def relearn(self, state: TrainState, remembered: Examples) -> None:
        """Begins again beside the network, by these examples alone."""

    def after_restart(self, state: TrainState, former: StrategyRuntime[Any], classes: Sequence[int | str]) -> None:
        """Keeps what is true of the stream, whatever weights are gone on with, of the strategy before; it knew ``classes``."""


STRATEGY_RUNTIMES: Behaviours[Strategy, StrategyRuntime[Any]] = Behaviours(StrategyRuntime, __name__)


def strategy_runtime(state: TrainState) -> StrategyRuntime[Any]:
    """The strategy of a train state's spec, before its first label."""
    strategy = state.spec.strategy
    return STRATEGY_RUNTIMES.of(strategy)(strategy, state)
