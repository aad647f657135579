"""The layers a spec can name, one file a kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from driftline.registry import Part, Registry

if TYPE_CHECKING:
    from torch import nn


class Layer(Part):
    """One layer of a network. ``name`` is given by type and order (``linear1``, ``relu1``) where a spec names none.

    A ``frozen`` one keeps its weights while others are trained. ``units`` is the field that says how many units it has;
    ``can_be_identity`` whether :meth:`make_identity` can let rows through as they are in evaluation mode.
    """

    type: str
    name: str | None = Field(None, pattern=r"^[A-Za-z_]\w{0,63}$")
    frozen: bool = False
    units: ClassVar[str | None] = None
    can_be_identity: ClassVar[bool] = False

    def build(self, shape: tuple[int, ...]) -> nn.Module:
        """The module for rows of ``shape`` (without the batch); :class:`ValueError` says why it cannot take them."""
        raise NotImplementedError

    def make_identity(self, module: nn.Module) -> None:
        """Sets the weights of a module that :meth:`build` gave, for rows that keep their shape."""


class Adapter(Part):
    """A trained change of a frozen weight by a matrix of low ``rank`` (LoRA, Hu et al. 2021)."""

    rank: int = Field(ge=1, le=10_000)


class Adaptable(Layer):
    """A layer whose weight may have an adapter: the weight then stays, and the adapter is trained."""

    adapter: Adapter | None = None


LAYERS = Registry(Layer, __name__, tag="type")
