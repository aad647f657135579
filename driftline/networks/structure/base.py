"""What edits ask of a structure, whichever kind of network it is of."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence

from torch import Tensor, nn

from driftline.networks.adapters import weight_name
from driftline.networks.modules import Branched
from driftline.networks.unit_flow import shapes
from driftline.spec.parts.layers import Activation, Layer

MAX_NAMED = 20


class Structure(ABC):
    """A network whose layers go by names: those of the spec, or the paths of submodules.

    Layers of a branch are called ``branch1.…``. All methods raise a :class:`ValueError` where a layer does not fit.
    ``moves`` are the names under which old tensors stand now: of one, or of all that begin with a name that ends in a dot.
    ``added`` are the paths of new layers.
    """

    def __init__(self, network: nn.Module, rows: Mapping[str, Tensor], takes_names: bool) -> None:
        self.network = network
        self.rows = rows
        self.takes_names = takes_names
        self.moves: list[tuple[str, str]] = []
        self.added: list[str] = []

    @property
    @abstractmethod
    def names(self) -> list[str]:
        """All layers."""

    def path(self, name: str) -> str:
        """Where a layer is in the network."""
        if name not in self.names:
            known = ", ".join(self.names[:MAX_NAMED]) + (", …" if len(self.names) > MAX_NAMED else "")
            raise ValueError(f"there is no layer {name!r}; there are {known}")
        return path_in(self.network, name)

    def module(self, name: str) -> nn.Module:
        """A layer's module."""
        return self.network.get_submodule(self.path(name))

    def name(self, path: str) -> str:
        """The name of the layer that is at ``path``."""
        return next(name for name in self.names if path_in(self.network, name) == path)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of a row after each submodule, by path."""
        return shapes(self.network, self.rows, self.takes_names)

    @abstractmethod
    def insert(self, after: str | None, layer: Layer) -> None:
        """Puts a new layer after another, or before all."""

    @abstractmethod
    def remove(self, name: str) -> None:
        """Takes a layer out."""

    def swap(self, name: str, activation: Activation, blend: int | None) -> None:
        """Puts an activation in the place of another; with ``blend`` in so many updates."""
        path = self.path(name)
        self._swap(name, activation, blend)
        if blend:
            self.moves.append((f"{path}.", f"{path}.old."))

    @abstractmethod
    def _swap(self, name: str, activation: Activation, blend: int | None) -> None: ...

    @abstractmethod
    def resize(self, name: str, units: int) -> None:
        """Gives a layer another number of units, and what takes them as many inputs."""

    @abstractmethod
    def grow(self, name: str, count: int) -> None:
        """Gives an embedding another number of vectors."""

    @abstractmethod
    def absorb(self, name: str, next_name: str, has_bias: bool) -> None:
        """Takes the layer that follows a linear or convolution layer into it."""

    @abstractmethod
    def freeze(self, name: str, is_frozen: bool) -> None:
        """Lets a layer's weights stay, or be trained."""

    def adapt(self, name: str, rank: int | None) -> None:
        """Gives a layer an adapter; None puts it into the weight."""
        path, own = self.path(name), weight_name(self.module(name))
        weight, original = f"{path}.{own}", f"{path}.parametrizations.{own}.original"
        self._adapt(name, rank)
        self.moves.append((original, weight) if rank is None else (weight, original))

    @abstractmethod
    def _adapt(self, name: str, rank: int | None) -> None: ...

    @abstractmethod
    def can_adapt(self, name: str) -> bool:
        """Whether a layer can have an adapter."""

    @abstractmethod
    def freeze_all_but(self, adapted: Collection[str]) -> None:
        """Leaves nothing to be trained but adapters; ``adapted`` are the layers that have got one."""

    @abstractmethod
    def join(self, layers: Sequence[Layer]) -> None:
        """Adds a branch of layers."""

    @property
    def free_branch(self) -> str:
        """A name for a new branch."""
        taken = {name.partition(".")[0] for name in self.names}
        return next(name for number in itertools.count(1) if (name := f"branch{number}") not in taken)


def path_in(network: nn.Module, name: str) -> str:
    """Where the layer called ``name`` is in a network."""
    if not isinstance(network, Branched):
        return name
    branch, _, rest = name.partition(".")
    return name if rest and branch in network.branch_names else f"main.{name}"
