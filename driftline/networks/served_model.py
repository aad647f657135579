"""A model as it is served, and trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from driftline.networks.experts.encoding import LARGEST
from driftline.networks.modules import joined
from driftline.networks.robust import FARTHEST
from driftline.networks.running_scale import RunningScale, UnitChange
from driftline.spec import Factory, ModelSpec

MAX_TRACED = 4096
"""A trace of more numbers than this is not worth its place beside each prediction."""


@dataclass(frozen=True)
class Rescaling:
    """Which inputs, by name, have come into another unit, and whether the target has."""

    inputs: Mapping[str, UnitChange] = field(default_factory=dict)
    target: UnitChange | None = None


class ServedModel(nn.Module):
    """A model as it is served: the running scale of its inputs, the network, and the output that its task needs.

    ``network`` takes one tensor; or, where it is a user's own and inputs are named, a keyword argument for each. ``experts``
    is what the recipe's strategy serves beside it: rows ``[batch, numbers]`` and the network's log-probabilities ``[batch,
    classes]`` give logits ``[batch, classes]`` and the log-probabilities of all parts ``[batch, parts, classes]``.
    """

    def __init__(
        self, spec: ModelSpec, network: nn.Module, output: nn.Module, width: int, experts: nn.Module | None = None
    ) -> None:
        super().__init__()
        self._own_width = width
        self.is_regression = not spec.kind.has_classes
        self.takes_names = isinstance(spec.inputs, dict) and isinstance(spec.network, Factory)
        floats = {name: tensor for name, tensor in spec.tensors.items() if tensor.dtype == "float32"}
        self.scale = nn.ModuleDict({name: RunningScale(tuple(tensor.shape)) for name, tensor in floats.items()})
        self.target_scale = RunningScale((), limit=FARTHEST) if self.is_regression else None
        self.sizes = {name: tensor.size for name, tensor in spec.tensors.items()}
        self.network = network
        self.output = output
        self.experts = experts
        self.class_ids: list[int] | None = None
        self._positions: Tensor | None = None

    def set_class_ids(self, ids: Sequence[int]) -> None:
        """Says which class each output is of, by its id; without it output ``i`` is of class ``i``."""
        self.class_ids = self._positions = None
        if list(ids) != list(range(len(ids))):
            self.class_ids = list(ids)
            # One place more stands for all ids that are not among these.
            self._positions = torch.full((max(ids) + 2,), len(ids))
            self._positions[self.class_ids] = torch.arange(len(ids))

    @property
    def is_in_order(self) -> bool:
        """Whether output ``i`` is of class ``i``."""
        return self._positions is None

    def positions(self, targets: Tensor) -> Tensor:
        """The output of each class, by its id ``[rows]``: past the last one where it is not answered. Values stay."""
        if self._positions is None:
            return targets
        return self._positions[targets.clamp(max=len(self._positions) - 1)]

    def answers(self, targets: Tensor) -> Tensor:
        """Whether each class, by its id ``[rows]``, is answered; a value always is."""
        if self.is_regression:
            return torch.ones(len(targets), dtype=torch.bool)
        return self.positions(targets) < self.width

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """The network's logits ``[batch, classes]``, or values ``[batch, 1]`` in units of the target's running deviation."""
        return self._network_outputs(self._scaled(inputs))

    def _scaled(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: self.scale[name](inputs[name]) if name in self.scale else inputs[name] for name in self.sizes}

    def _network_outputs(self, scaled: dict[str, Tensor]) -> Tensor:
        hidden = self.network(**scaled) if self.takes_names else self.network(joined(scaled))
        result: Tensor = self.output(hidden.flatten(1) if hidden.dim() > 1 else hidden.unsqueeze(1))
        return result

    def predict(self, inputs: dict[str, Tensor], in_order: bool = True) -> Tensor:
        """Probabilities ``[batch, classes]``, or values ``[batch, 1]`` in the target's own units.

        ``in_order``: the rows came after the newest label that was learned, as all do that are served; not before it.
        """
        return self.traced(inputs, in_order)[0]

    def answer(self, inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor | None]:
        """What :meth:`predict` gives; and, where there are experts, the trace of it, unless it would be large."""
        outputs, trace = self.traced(inputs)
        return outputs, trace if trace is not None and trace[:1].numel() <= MAX_TRACED else None

    def traced(self, inputs: dict[str, Tensor], in_order: bool = True) -> tuple[Tensor, Tensor | None]:
        """What :meth:`predict` gives; and, where there are experts, the log-probabilities of all parts."""
        outputs, trace = self._network_outputs(self._scaled(inputs)), None
        if self.target_scale is not None:
            return self.target_scale.restore(outputs), None
        if self.experts is not None:
            outputs, trace = self.experts(self.rows(inputs), outputs.log_softmax(1), in_order)
        return outputs.softmax(1), trace

    def rows(self, inputs: dict[str, Tensor]) -> Tensor:
        """Inputs as experts take them, as they came: ``[batch, numbers]``."""
        rows = [inputs[name].reshape(len(inputs[name]), -1).float() for name in self.sizes]
        return (rows[0] if len(rows) == 1 else torch.cat(rows, 1)).clamp(-LARGEST, LARGEST)

    @property
    def width(self) -> int:
        """How many numbers are answered: as many as there are classes, or one value."""
        # A network with an output of its own never takes more classes than it was made for.
        return int(getattr(self.output, "out_features", self._own_width))

    def observe(self, inputs: dict[str, Tensor], targets: Tensor) -> Rescaling | None:
        """Lets the running scales follow what is about to be learned; gives what has come into another unit."""
        found = {name: scale.observe(inputs[name]) for name, scale in self.scale.items()}  # type: ignore[operator]
        target = self.target_scale.observe(targets) if self.target_scale is not None else None
        changed = {name: change for name, change in found.items() if change is not None}
        return Rescaling(changed, target) if changed or target is not None else None

    def carried_rows(self, rows: Tensor, rescaling: Rescaling) -> tuple[Tensor, Tensor]:
        """Rows that :meth:`rows` gave, in the present units; and which of their numbers have changed ``[numbers]``."""
        parts, has_changed = [], []
        first = 0
        for name, size in self.sizes.items():
            part, first = rows[:, first : first + size], first + size
            change = rescaling.inputs.get(name)
            parts.append(part if change is None else change.carried(part))
            has_changed.append(torch.zeros(size, dtype=torch.bool) if change is None else change.features(size))
        return torch.cat(parts, 1), torch.cat(has_changed)

    def scaled_targets(self, targets: Tensor) -> Tensor:
        """Targets as a loss compares them with :meth:`forward`: class indices stay, values are scaled."""
        return self.target_scale(targets) if self.target_scale is not None else targets


def evaluating(module: ServedModel) -> ServedModel:
    """The module in evaluation mode. (To set a mode that is set already costs as much as a small answer.)"""
    return module.eval() if module.training else module
