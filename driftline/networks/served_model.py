"""A model as it is served, and trained."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from driftline.networks import error_unit
from driftline.networks.class_answers import ClassAnswers
from driftline.networks.clone import clone
from driftline.networks.computation import NetworkComputation
from driftline.networks.experts.encoding import LARGEST
from driftline.networks.finiteness import Finiteness
from driftline.networks.intervals import RunningIntervals
from driftline.networks.robust import FARTHEST
from driftline.networks.rows.alignment import aligned
from driftline.networks.rows.embeddings import RowEmbeddings
from driftline.networks.rows.encoder import FEATURES, RowEncoder
from driftline.networks.running_scale import RunningScale
from driftline.networks.tensor_inputs import tensor_inputs
from driftline.networks.unit_change import UnitChange
from driftline.spec import ModelSpec
from driftline.spec.row_layout import NUMBERS, ROW, STATISTICS

MAX_TRACED = 4096
"""A trace of more numbers than this is not worth its place beside each prediction."""


@dataclass(frozen=True)
class Rescaling:
    """Which inputs, by name, have come into another unit, and whether the target has.

    ``error_unit`` ``[outputs]`` is what the error of each of several outputs is divided by from now on; None: as before.
    """

    inputs: Mapping[str, UnitChange] = field(default_factory=dict)
    target: UnitChange | None = None
    error_unit: Tensor | None = None

    def of_inputs(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Rows in the present units, where they came in former ones."""
        changes = self.inputs
        return {
            name: changes[name].carried(value).to(value.dtype) if name in changes else value
            for name, value in inputs.items()
        }

    def of_targets(self, targets: Tensor) -> Tensor:
        """Labels in the present unit."""
        return targets if self.target is None else self.target.carried(targets)


class ServedModel(ClassAnswers):
    """A model as it is served: the running scale of its inputs, the network, and the output that its task needs.

    Rows of fields have an ``encoder`` in front, and ``embeddings`` that are trained with the network; only the tensors among
    the fields are scaled. Below, *encoded* rows are what the encoder gives; of inputs that are tensors there is nothing.

    ``error_unit`` ``[outputs]`` is what the errors of several outputs are divided by before they are one number; None where
    there is one output, whose error has its own unit.

    Network and output are on ``device``, all else on the CPU.

    ``network`` takes one tensor; or, where it is a user's own and inputs are named, a keyword argument for each. ``experts``
    is what the recipe's strategy serves beside it: rows ``[batch, numbers]`` and the network's log-probabilities ``[batch,
    classes]`` give logits ``[batch, classes]`` and the log-probabilities of all parts ``[batch, parts, classes]``; of a
    regression these are values, in the target's own units.
    """

    def __init__(
        self, spec: ModelSpec, network: nn.Module, output: nn.Module, width: int, experts: nn.Module | None = None
    ) -> None:
        super().__init__()
        self._own_width = width
        self.is_regression, self.is_multilabel = not spec.kind.has_classes, spec.kind.is_multilabel
        self.encoder = RowEncoder(spec.layout, self.is_regression) if spec.fields is not None else None
        self.embeddings = RowEmbeddings(spec.layout) if spec.fields is not None else None
        self.tensor_inputs = tensor_inputs(spec)
        self.scale = nn.ModuleDict(
            {each.scale: RunningScale(each.shape) for each in self.tensor_inputs if each.scale is not None}
        )
        shape = (width,) if spec.values.has_several else ()
        self.target_scale = RunningScale(shape, limit=FARTHEST) if self.is_regression else None
        self.error_unit: Tensor | None
        self.register_buffer("error_unit", torch.zeros(width) if self.is_regression and shape else None)
        self.intervals = RunningIntervals(spec.intervals, width) if spec.intervals is not None else None
        self.network = network
        self.output = output
        self.computation = NetworkComputation.of(spec, network)
        self.experts = experts
        self.follow_recipe(spec.recipe)
        self._finiteness = Finiteness()

    def train(self, mode: bool = True) -> ServedModel:
        """Sets the mode of what has one: all else is the same in both, and to tell it costs as much as a small answer."""
        self.training = mode
        self.network.train(mode)
        self.output.train(mode)
        return self

    def on(self, device: torch.device) -> ServedModel:
        """Lets network and output compute on a device. All else, and what is given and answered, is on the CPU."""
        self.network.to(device)
        self.output.to(device)
        self.computation = dataclasses.replace(self.computation, device=device)
        return self

    @property
    def device(self) -> torch.device:
        """Where network and output are."""
        return self.computation.device

    def is_finite(self) -> bool:
        """Whether every weight and buffer is a finite number."""
        return self._finiteness.holds(self)

    def follow_fields(self, spec: ModelSpec) -> None:
        """Takes fields of other names in the same places, and new ones after them. The network stays as it is."""
        assert self.encoder is not None and self.embeddings is not None
        if spec.layout.tensors == self.encoder.layout.tensors:
            self.encoder.layout = spec.layout
        else:
            self.encoder, self.embeddings = self.encoder.widened(spec.layout), self.embeddings.widened(spec.layout)
        self.tensor_inputs = tensor_inputs(spec)
        for each in self.tensor_inputs:
            if each.scale is not None and each.scale not in self.scale:
                self.scale[each.scale] = RunningScale(each.shape)

    def aligned(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Rows of fields as this model takes them, where they were coded before fields were added, or after."""
        return inputs if self.encoder is None else aligned(inputs, self.encoder.layout)

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """The network's logits ``[batch, classes]``, or values ``[batch, outputs]`` in units of the targets' deviations."""
        return self._network_outputs(self.scaled(inputs))

    def _encoded(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """What an encoder makes of rows; nothing where there is none."""
        if self.encoder is None:
            return {}
        encoded: dict[str, Tensor] = self.encoder(inputs)
        return encoded

    def _scaled(self, inputs: dict[str, Tensor], encoded: dict[str, Tensor]) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        if self.embeddings is not None:
            row = torch.cat([encoded[FEATURES], *self.embeddings(encoded)], 1)
            # Where all fields are tensors there is no row beside them.
            found |= {ROW: row} if row.shape[1] else {}
        for each in self.tensor_inputs:
            given = inputs[each.key]
            if each.lengths is not None:
                found |= each.masked(given, inputs[each.lengths])
            else:
                found[each.name] = given if each.scale is None else self.scale[each.scale](given.float())
        return found

    def scaled(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Inputs as the network takes them, by name."""
        inputs = self.aligned(inputs)
        return self._scaled(inputs, self._encoded(inputs))

    def _network_outputs(self, scaled: dict[str, Tensor]) -> Tensor:
        return self.computation(self.network, self.output, scaled)

    def predict(self, inputs: dict[str, Tensor], in_order: bool = True) -> Tensor:
        """Probabilities ``[batch, classes]``, or values ``[batch, outputs]`` in the targets' own units.

        ``in_order``: the rows came after the newest label that was learned, as all do that are served; not before it.
        """
        return self.traced(inputs, in_order)[0]

    def answer(self, inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor | None]:
        """What :meth:`predict` gives, and beside it the ends of its intervals, if it has any: ``[batch, outputs · (1 +
        levels)]``; and, where there are experts, the trace of it as it is recorded, unless it is large.
        """
        outputs, trace = self.traced(inputs)
        if self.intervals is not None:
            outputs = torch.cat([outputs, self.intervals(outputs)], 1)
        if trace is None or trace[:1].numel() > MAX_TRACED:
            return outputs, None
        # Values need all their digits; log-probabilities do not.
        return outputs, trace if self.is_regression else trace.half()

    def traced(self, inputs: dict[str, Tensor], in_order: bool = True) -> tuple[Tensor, Tensor | None]:
        """What :meth:`predict` gives; and, where there are experts, the log-probabilities, or values, of all parts."""
        inputs = self.aligned(inputs)
        encoded = self._encoded(inputs)
        outputs, trace = self._network_outputs(self._scaled(inputs, encoded)), None
        if self.target_scale is not None:
            outputs = self.target_scale.restore(outputs)
        if self.experts is not None:
            given = outputs if self.is_regression else outputs.log_softmax(1)
            outputs, trace = self.experts(self._rows(inputs, encoded), given, in_order)
        if self.is_regression:
            return outputs, trace
        return outputs.sigmoid() if self.is_multilabel else outputs.softmax(1), trace

    def rows(self, inputs: dict[str, Tensor]) -> Tensor:
        """Inputs as experts take them, encoded or as they came: ``[batch, numbers]``."""
        inputs = self.aligned(inputs)
        return self._rows(inputs, self._encoded(inputs))

    def _rows(self, inputs: dict[str, Tensor], encoded: dict[str, Tensor]) -> Tensor:
        rows = [encoded[FEATURES]] if encoded else []
        rows += [(value := inputs[each.key]).reshape(value.size(0), -1).float() for each in self.tensor_inputs]
        return (rows[0] if len(rows) == 1 else torch.cat(rows, 1)).clamp(-LARGEST, LARGEST)

    def watched(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """What tells by itself, without labels, that inputs have changed: each field, or the tensors as they came."""
        return inputs if self.encoder is None else self.encoder.watched(inputs)

    def timeless(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Rows without what moves by nature, the times among their fields."""
        return inputs if self.encoder is None else self.encoder.timeless(inputs)

    def with_statistics(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Rows with what the encoder now knows of their values: what it learns later would tell their own labels."""
        if self.encoder is None or STATISTICS not in inputs:
            return inputs
        return {**inputs, STATISTICS: self.encoder.statistics(inputs)}

    def with_ordered_statistics(self, inputs: dict[str, Tensor], targets: Tensor, weights: Tensor) -> dict[str, Tensor]:
        """Rows that were learned before, in their order, each with what the ones before it say of its values."""
        if self.encoder is None or STATISTICS not in inputs:
            return inputs
        return {**inputs, STATISTICS: self.encoder.ordered_statistics(inputs, targets, weights)}

    def observe_rows(self, inputs: dict[str, Tensor], targets: Tensor, weights: Tensor) -> Rescaling | None:
        """Lets the encoder learn from rows with their labels; gives what has come into another unit."""
        change = self.encoder.observe(inputs, targets, weights) if self.encoder is not None else None
        return Rescaling({NUMBERS: change}) if change is not None else None

    @property
    def width(self) -> int:
        """How many numbers are answered: as many as there are classes, or outputs; an own output has those it was made for."""
        return int(getattr(self.output, "out_features", self._own_width))

    def observe(self, inputs: dict[str, Tensor], targets: Tensor) -> Rescaling | None:
        """Lets the running scales follow what is about to be learned; gives what has come into another unit."""
        found = {
            each.key: self.scale[each.scale].observe(inputs[each.key].float())  # type: ignore[operator]
            for each in self.tensor_inputs
            if each.scale is not None
        }
        target = self.target_scale.observe(targets) if self.target_scale is not None else None
        # Bytes have no other unit that they could come in.
        changed = {
            name: change for name, change in found.items() if change is not None and inputs[name].is_floating_point()
        }
        unit = self._follow_error_unit()
        return Rescaling(changed, target, unit) if changed or target is not None or unit is not None else None

    def _follow_error_unit(self) -> Tensor | None:
        """The unit of the errors of several outputs, where it has changed; else None."""
        if self.error_unit is None or self.target_scale is None:
            return None
        return error_unit.followed(self.error_unit, 1 / self.target_scale.inverse)

    def take_error_unit(self, unit: Tensor | None) -> None:
        """Takes the unit that errors are compared in."""
        if unit is not None and self.error_unit is not None:
            self.error_unit.copy_(unit)

    def errors(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The error of each answer of a regression ``[rows]`` (:func:`driftline.networks.error_unit.errors`)."""
        return error_unit.errors(outputs, targets, self.error_unit)

    def _sizes(self) -> dict[str, int]:
        """The numbers of each part of what :meth:`rows` gives."""
        features = {FEATURES: self.encoder.layout.features} if self.encoder is not None else {}
        return features | {each.key: torch.Size(each.shape).numel() for each in self.tensor_inputs}

    def carried_rows(self, rows: Tensor, rescaling: Rescaling) -> tuple[Tensor, Tensor]:
        """Rows that :meth:`rows` gave, in the present units; and which of their numbers have changed ``[numbers]``."""
        parts, has_changed, first = [], [], 0
        for name, size in self._sizes().items():
            part, first = rows[:, first : first + size], first + size
            change = rescaling.inputs.get(name)
            parts.append(part if change is None else change.carried(part))
            has_changed.append(torch.zeros(size, dtype=torch.bool) if change is None else change.features(size))
        return torch.cat(parts, 1), torch.cat(has_changed)

    def follow_errors(self, other: ServedModel) -> None:
        """Goes on with what another module knows of how wrong served answers have been, and in its unit."""
        self.take_error_unit(other.error_unit)
        if self.intervals is not None and other.intervals is not None:
            self.intervals = clone(other.intervals)
        self.follow_prior(other)

    def trust(self, inputs: dict[str, Tensor]) -> Tensor | None:
        """How much each row may teach ``[rows]``: little where it is far from all before; None: as much as it weighs."""
        inputs = self.aligned(inputs)
        scales = [
            (self.scale[each.scale], inputs[each.key].float()) for each in self.tensor_inputs if each.scale is not None
        ]
        found = [scale.trust(given) for scale, given in scales if not scale.is_fixed]  # type: ignore[operator]
        return torch.stack(found).amin(0) if found else None

    def scaled_targets(self, targets: Tensor) -> Tensor:
        """Targets as a loss compares them with :meth:`forward`: class indices stay, values are scaled."""
        return self.target_scale(targets) if self.target_scale is not None else targets


def evaluating(module: ServedModel) -> ServedModel:
    """The module in evaluation mode. (To set a mode that is set already costs as much as a small answer.)"""
    return module.eval() if module.training else module
