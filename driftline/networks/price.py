"""What a model would take, worked out before any of it is allocated, and the budget that it has to fit.

Numbers of a spec are counted first; then its layers are built on torch's meta device, where tensors have shapes and no memory.
Layers that are few numbers by any count are built as they are: the meta device loads torch's compiler, which takes seconds.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from types import MappingProxyType

import msgspec
import torch
from torch import nn

from driftline.errors import InvalidInput
from driftline.networks.layers import builder
from driftline.networks.seeded import seeded
from driftline.networks.sequential import layered, network_rows
from driftline.networks.size_bound import size_bound
from driftline.networks.unit_flow import shapes
from driftline.spec import Factory, ModelSpec
from driftline.spec.network import layers_of
from driftline.spec.parts.edits import Edit
from driftline.spec.parts.layers import Layer

NUMBER_BYTES = 4
TEXT_BYTES = 16
"""About what a number takes in an answer."""
OWN = "driftline."
OVER_BUDGET = "over_budget"
SMALL = 2**20
"""Numbers that are allocated without a thought."""


@dataclass(frozen=True)
class ModelPrice:
    """What a model takes. ``bytes`` are of its weights and of what its layers give for one row; ``answer_bytes`` of the answer
    to one row.
    """

    layers: int = 0
    edits: int = 0
    classes: int = 0
    answer_bytes: int = 0
    tensors: int = 0
    parameters: int = 0
    bytes: int = 0


@dataclass(frozen=True)
class ModelBudget:
    """The most that a model may take of each; a number below 0: as much as it likes."""

    layers: int = 1000
    edits: int = 1000
    classes: int = 5000
    answer_bytes: int = 2**20
    tensors: int = 10_000
    parameters: int = 2**26
    bytes: int = 2**28

    def check(self, price: ModelPrice, where: str = "network") -> None:
        """:class:`InvalidInput` ``over_budget`` names the price and the budget of what is too much."""
        for each in fields(ModelPrice):
            asked, most = getattr(price, each.name), getattr(self, each.name)
            if 0 <= most < asked:
                what = each.name.replace("_", " ")
                message = f"{where}: {asked} {what} where {most} is the most here (DRIFTLINE_MAX_{each.name.upper()})"
                raise InvalidInput(
                    message,
                    code=OVER_BUDGET,
                    field=where,
                    price={name: number for name, number in asdict(price).items() if number},
                    budget=asdict(self),
                    over=each.name,
                )

    def check_spec(self, spec: ModelSpec, classes: Sequence[int | str]) -> None:
        """Whether a model of this spec fits, before it is built; :class:`InvalidInput` says what does not.

        What a factory of a user's own makes is not known before: :meth:`check_module` is for that.
        """
        counted = _counted(spec, classes)
        self.check(counted, "network" if max(counted.layers, counted.edits) else "classes")
        if not isinstance(spec.network, Factory) and _is_ours(spec):
            self.check(_built(spec, counted))

    def check_module(self, module: nn.Module) -> None:
        """Whether a module that is built fits."""
        sizes = [value.numel() for value in module.state_dict().values()]
        self.check(ModelPrice(tensors=len(sizes), parameters=sum(sizes), bytes=state_bytes(module)))

    def check_growth(self, edit: Edit, module: nn.Module) -> None:
        """Whether what an edit adds to a network of a user's own can fit: as many units as it says, in its widest layer."""
        units = max((int(getattr(edit, name, 0) or 0) for name in ("features", "rank")), default=0)
        widest = max((sum(parameter.shape) for parameter in module.parameters()), default=0)
        if units:
            added = ModelPrice(parameters=units * widest, bytes=NUMBER_BYTES * units * widest)
            self.check(added, f"{edit.type}, which could add")


UNLIMITED = ModelBudget(**{each.name: -1 for each in fields(ModelBudget)})


class NewClasses:
    """The classes of a model whose labels may bring new ones: as many as its budget allows.

    Those of the live version are known, and those of labels that were taken since.
    """

    def __init__(self, budget: ModelBudget) -> None:
        self.budget = budget
        self._classes: Sequence[int | str] = ()
        self._known: frozenset[int | str] = frozenset()
        self._known_bytes = _text_bytes(())
        self._taken: dict[int | str, int] = {}

    def check(self, label: object, beside: Mapping[int | str, int] = MappingProxyType({})) -> dict[int | str, int]:
        """The classes that a label would bring, and the bytes of each; :class:`InvalidInput` ``over_budget`` where they are
        too many, or a name is too long.

        Args:
            beside: what other labels will bring that come with it.
        """
        new = {
            name: _text_bytes([name])
            for name in (label if isinstance(label, list) else [label])
            if isinstance(name, int | str)
            and name not in self._known
            and name not in self._taken
            and name not in beside
        }
        if new:
            sizes = [*self._taken.values(), *beside.values(), *new.values()]
            count = len(self._known) + len(sizes)
            answer_bytes = self._known_bytes + sum(sizes) + TEXT_BYTES * count
            self.budget.check(ModelPrice(classes=count, answer_bytes=answer_bytes), "label")
        return new

    def take(self, new: Mapping[int | str, int]) -> None:
        """Remembers classes of labels that were taken."""
        self._taken.update(new)

    def follow(self, classes: Sequence[int | str]) -> None:
        """Takes the classes of a newer version."""
        if classes is not self._classes:
            self._classes, self._known, self._known_bytes = classes, frozenset(classes), _text_bytes(classes)
            self._taken = {name: size for name, size in self._taken.items() if name not in self._known}


def state_bytes(module: nn.Module) -> int:
    """The bytes of a module's parameters and buffers."""
    return sum(value.numel() * value.element_size() for value in module.state_dict().values())


def price_of(spec: ModelSpec, classes: Sequence[int | str]) -> ModelPrice:
    """The price of a model whose layers are Driftline's own; :class:`InvalidInput` where they do not fit together."""
    return _built(spec, _counted(spec, classes))


def _counted(spec: ModelSpec, classes: Sequence[int | str]) -> ModelPrice:
    lists, width = _lists(spec), spec.width(len(classes))
    edits = len(spec.network.edits) if isinstance(spec.network, Factory) else 0
    answer_bytes = _text_bytes(classes) + TEXT_BYTES * width
    # A branch without layers is a part of the network all the same.
    return ModelPrice(sum(max(1, len(layers)) for layers in lists), edits, len(classes), answer_bytes)


def _text_bytes(names: Collection[int | str]) -> int:
    return len(msgspec.json.encode(list(names)))


def _is_ours(spec: ModelSpec) -> bool:
    """Whether all layers are Driftline's own: others need not know the meta device."""
    return all(type(builder(layer)).__module__.startswith(OWN) for layers in _lists(spec) for layer in layers)


def _lists(spec: ModelSpec) -> list[Sequence[Layer]]:
    """The layers of each branch and of what follows them; none where the network is no list of layers."""
    network = layers_of(spec.network)
    return [] if network is None else [network.layers, *network.branches.values()]


def _is_small(spec: ModelSpec) -> bool:
    shapes = [tensor.shape for tensor in spec.network_inputs.values()]
    row = shapes[0] if len(shapes) == 1 else [sum(int(torch.Size(shape).numel()) for shape in shapes)]
    return sum(size_bound(layers, row) for layers in _lists(spec)) <= SMALL


def _built(spec: ModelSpec, counted: ModelPrice) -> ModelPrice:
    """The price of layers, built on the meta device or small; :class:`InvalidInput` where they do not fit together."""
    with seeded(0), torch.device("cpu" if _is_small(spec) else "meta"), torch.no_grad():
        module, shape = layered(spec)
        given: Mapping[str, tuple[int, ...]] = shapes(module, network_rows(spec), takes_names=False)
    state = list(module.state_dict().values())
    output = (int(torch.Size(shape).numel()) + 1) * max(1, spec.width(counted.classes))
    rows = sum(tensor.size for tensor in spec.tensors.values())
    parameters = sum(value.numel() for value in state) + output
    passed = sum(int(torch.Size(each).numel()) for each in given.values())
    # A running scale keeps a mean, a spread and a count of each number.
    own = sum(value.numel() * value.element_size() for value in state) + NUMBER_BYTES * (output + 3 * rows + passed)
    return ModelPrice(
        counted.layers, counted.edits, counted.classes, counted.answer_bytes, len(state) + 2, parameters, own
    )
