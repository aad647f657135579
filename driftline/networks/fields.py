"""Types of pydantic fields."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from driftline.networks.layers import LAYERS, Layer

if TYPE_CHECKING:
    LayerField: TypeAlias = Layer
else:
    LayerField = LAYERS.field()
