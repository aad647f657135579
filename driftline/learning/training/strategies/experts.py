"""A mixture of experts beside the network, weighted by how well they had predicted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from driftline.classes import class_indices
from driftline.learning.stateful import named, part
from driftline.learning.training.strategies import Strategy, StrategyRuntime

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from driftline.learning.examples import Examples
    from driftline.learning.replay.buffers import Holdout, ReplayBuffer
    from driftline.learning.training.train_state import TrainState
    from driftline.networks.build import ServedModel
    from driftline.networks.experts.mixture import Mixture
    from driftline.spec import ModelSpec

MOST_FEATURES = 4096
FEWEST_ROWS = 8
PLAYED_ROWS = 32


class Experts(Strategy):
    """Serves the network in a mixture with ridge regressions, small networks, nearest neighbours and what the labels alone say.

    The network is trained by replay; the others learn by their own rules. The weights follow how each had predicted, as
    served, so that a drift moves weight at once instead of after retraining. Rows of more than 4,096 numbers are left to the
    network alone.
    """

    name: Literal["experts"] = "experts"
    replayed: int = Field(64, ge=1, le=100_000)
    tasks: ClassVar[frozenset[str]] = frozenset({"classification"})

    def batch(self, new: Examples, replay_buffer: ReplayBuffer, generator: torch.Generator) -> Examples:
        return new.joined(replay_buffer.sample(self.replayed, generator))

    def start(self, train_state: TrainState) -> StrategyRuntime[Experts]:
        return (
            StrategyRuntime(train_state, self)
            if train_state.module.experts is None
            else ExpertsRuntime(train_state, self)
        )

    def experts(self, spec: ModelSpec, classes: int) -> nn.Module | None:
        tensors = list(spec.tensors.values())
        features = sum(tensor.size for tensor in tensors)
        if features > MOST_FEATURES:
            return None
        # The numbers of an image or a spectrogram are in one unit; columns of a table are not.
        return _mixture(features, classes, one_unit=len(tensors) == 1 and len(tensors[0].shape) > 1)


class ExpertsRuntime(StrategyRuntime[Experts]):
    """``waiting`` are rows that the network has not been trained on: an update of it costs more than a row is worth."""

    def __init__(self, train_state: TrainState, strategy: Experts) -> None:
        from driftline.learning.examples import Examples
        from driftline.learning.training.experts.mixture import MixtureLearner
        from driftline.networks.experts.mixture import Mixture

        super().__init__(train_state, strategy)
        assert isinstance(train_state.module.experts, Mixture)
        self.mixture = MixtureLearner(train_state.module.experts)
        self.waiting = Examples.empty(train_state.spec)

    @property
    def is_waiting(self) -> bool:
        return len(self.waiting) < FEWEST_ROWS

    def observe(self, new: Examples) -> None:
        """The scales are the network's alone, and wait with it."""
        self.waiting = self.waiting.joined(new)
        if not self.is_waiting:
            super().observe(self.waiting)

    def update(self, new: Examples, replay_buffer: ReplayBuffer, teacher: ServedModel | None) -> str | None:
        if len(new) and self.is_waiting:
            return None
        return super().update(self.waiting if len(new) else new, replay_buffer, teacher)

    def update_mixture_weights(self, traces: Tensor, targets: Tensor) -> None:
        self.mixture.update_mixture_weights(traces, targets)

    def end_step(self, new: Examples, replay_buffer: ReplayBuffer) -> None:
        if not self.is_waiting:
            self.waiting = self.waiting.take(slice(0, 0))
        if len(new):
            rows = self.train_state.module.rows(new.inputs)
            self.mixture.learn(rows, new.targets, new.weights, self.train_state.generator)

    def on_holdout(self, holdout: Holdout, count: int) -> None:
        """Shows the mixture rows of classes that have gone, as many as there are among ``count`` of what is held out."""
        import torch

        mixture = self.mixture.mixture
        if not count or not bool(mixture.labels.rare.any()):
            return
        held = holdout.sample(count, self.train_state.generator)
        gone = held.take(mixture.are_rare(held.targets))
        if len(gone):
            module = self.train_state.module.eval()
            with torch.no_grad():
                trace = module.traced(gone.inputs, in_order=False)[1]
            assert trace is not None
            self.mixture.remember(trace, gone.targets)

    def tensors(self) -> dict[str, Tensor]:
        return {**named("mixture", self.mixture.state_dict()), **named("waiting", self.waiting.tensors())}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        from driftline.learning.examples import Examples

        self.mixture.load_state_dict(part(tensors, "mixture"))
        self.waiting = Examples.from_tensors(part(tensors, "waiting"))

    def after_edit(
        self, before: Mapping[str, Tensor], carry: Callable[[Mapping[str, Tensor]], dict[str, Tensor]]
    ) -> None:
        # Of a mixture that has lost columns, what can be seen in it was taken up already.
        if part(before, "mixture")["ridge.moment"].shape[-1] == self.mixture.mixture.columns.count:
            self.load(before)

    def warm_start_from(self, other: StrategyRuntime[Strategy], remembered: Examples) -> None:
        if not isinstance(other, ExpertsRuntime):
            self.mixture.mixture.rely_on_network()
            self._play(remembered)
            return
        from driftline.learning.training.experts.mixture import MixtureLearner
        from driftline.networks.clone import clone

        indices = class_indices(other.train_state.classes, self.train_state.classes)
        taught = clone(other.mixture.mixture)
        self.train_state.module.experts = taught
        self.mixture = MixtureLearner(taught)
        self.load(other.tensors())
        self.mixture.reclass(indices, len(self.train_state.classes))
        self.waiting = self.waiting.reclassed(indices)

    def _play(self, examples: Examples) -> None:
        """Lets the experts learn, and be weighed, as if these had come one after the other."""
        import torch

        module = self.train_state.module.eval()
        for first in range(0, len(examples), PLAYED_ROWS):
            some = examples.take(slice(first, first + PLAYED_ROWS))
            with torch.no_grad():
                trace = module.traced(some.inputs)[1]
            assert trace is not None
            self.update_mixture_weights(trace, some.targets)
            self.mixture.learn(module.rows(some.inputs), some.targets, some.weights, self.train_state.generator)


def _mixture(features: int, classes: int, one_unit: bool) -> Mixture:
    from driftline.networks.experts.mixture import Mixture

    return Mixture(features, classes, seed=0, one_unit=one_unit, with_network=True)
