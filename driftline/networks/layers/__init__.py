"""The layers a spec can name, one file a kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from driftline.registry import Part, Registry

if TYPE_CHECKING:
    from torch import nn


class Layer(Part):
    """One layer of a network. ``name`` is given by type and order (``linear1``, ``relu1``) where a spec names none."""

    type: str
    name: str | None = Field(None, pattern=r"^[A-Za-z_]\w{0,63}$")

    def build(self, shape: tuple[int, ...]) -> nn.Module:
        """The module for rows of ``shape`` (without the batch); :class:`ValueError` says why it cannot take them."""
        raise NotImplementedError


LAYERS = Registry(Layer, __name__, tag="type")
