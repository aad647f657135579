"""The structure of a network that is given by layers: a list of them, and one for each branch."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from torch import Tensor, nn

from driftline.networks.adapters import adapter_of
from driftline.networks.sequential import layer_names
from driftline.networks.structure.base import Structure, path_in
from driftline.networks.unit_flow import unit_flow_after
from driftline.spec import Layers, parse
from driftline.spec.parts.layers import Activation, Adaptable, Adapter, Blend, Layer


class LayeredStructure(Structure):
    """A network given by layers. ``network`` is the one before: the layers change, and it stays as it is."""

    def __init__(self, spec: Layers, network: nn.Module, rows: Mapping[str, Tensor]) -> None:
        super().__init__(network, rows, takes_names=False)
        self.lists = {"": _named(spec.layers), **{name: _named(layers) for name, layers in spec.branches.items()}}

    @property
    def names(self) -> list[str]:
        return [f"{branch}.{layer.name}" if branch else str(layer.name) for branch, layer in self._all()]

    def _all(self) -> list[tuple[str, Layer]]:
        return [(branch, layer) for branch, layers in self.lists.items() for layer in layers]

    def layer(self, name: str) -> Layer:
        """A layer as the spec has it."""
        layers, index = self._find(name)
        return layers[index]

    def insert(self, after: str | None, layer: Layer) -> None:
        layers, index = self._find(after) if after is not None else (self.lists[""], -1)
        layers[:] = _named([*layers[: index + 1], layer, *layers[index + 1 :]])
        branch = (after or "").rpartition(".")[0]
        name = str(layers[index + 1].name)
        self.added.append(path_in(self.network, f"{branch}.{name}" if branch else name))

    def remove(self, name: str) -> None:
        layers, index = self._find(name)
        del layers[index]

    def _swap(self, name: str, activation: Activation, blend: int | None) -> None:
        layers, index = self._find(name)
        old = layers[index]
        if not isinstance(old, Activation):
            raise ValueError(f"the layer {name!r} is no activation")
        faded = Blend(old=old, steps=blend) if blend else None
        layers[index] = activation.model_copy(update={"name": old.name, "frozen": old.frozen, "blend": faded})

    def resize(self, name: str, units: int) -> None:
        field = self.layer(name).units
        if field is None:
            raise ValueError(f"the layer {name!r} has no units of its own")
        unit_flow_after(self.network, self.path(name), self.shapes())
        self._change(name, **{field: units})

    def grow(self, name: str, count: int) -> None:
        self._change(name, count=count)

    def absorb(self, name: str, next_name: str, has_bias: bool) -> None:
        gone = self.layer(next_name)
        width = {gone.units: getattr(gone, gone.units)} if gone.units is not None else {}
        self._change(name, **width, bias=has_bias)
        self.remove(next_name)

    def freeze(self, name: str, is_frozen: bool) -> None:
        self._change(name, frozen=is_frozen)

    def _adapt(self, name: str, rank: int | None) -> None:
        if not self.can_adapt(name):
            raise ValueError(f"the layer {name!r} takes no adapter; linear and convolution layers do")
        self._change(name, adapter=Adapter(rank=rank) if rank is not None else None)

    def can_adapt(self, name: str) -> bool:
        return isinstance(self.layer(name), Adaptable)

    def freeze_all_but(self, adapted: Collection[str]) -> None:
        for name in self.names:
            module = self.module(name)
            if name not in adapted and adapter_of(module) is None and any(True for _ in module.parameters()):
                self.freeze(name, True)

    def join(self, layers: Sequence[Layer]) -> None:
        if len(self.lists) == 1:
            self.moves.append(("", "main."))
        self.lists[self.free_branch] = _named(layers)

    def described(self, output: str) -> Layers:
        """The network as a spec."""
        main, *branches = ([layer.model_dump() for layer in layers] for layers in self.lists.values())
        return parse(
            Layers,
            {"layers": main, "branches": dict(zip(list(self.lists)[1:], branches, strict=True)), "output": output},
        )

    def _find(self, name: str) -> tuple[list[Layer], int]:
        self.path(name)
        branch, _, rest = name.rpartition(".")
        layers = self.lists[branch]
        return layers, [layer.name for layer in layers].index(rest)

    def _change(self, name: str, **fields: object) -> None:
        layers, index = self._find(name)
        layers[index] = layers[index].model_copy(update=fields)


def _named(layers: Sequence[Layer]) -> list[Layer]:
    """Layers with their names in them: names by type and order would change when others come and go."""
    return [layer.model_copy(update={"name": name}) for name, layer in zip(layer_names(layers), layers, strict=True)]
