"""Which network a model has: layers, a preset, or a factory of the user's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, Discriminator, Field, Tag, model_validator

from driftline.spec.parse import FUNCTION_PATTERN, Frozen
from driftline.spec.parts.edits import EDITS, Edit
from driftline.spec.parts.layers import LayerField
from driftline.spec.parts.presets import Preset

if TYPE_CHECKING:
    EditField: TypeAlias = Edit
else:
    EditField = EDITS.field()


class Layers(Frozen):
    """A network given layer by layer. ``output``: ``task`` appends the layer that the task needs, ``own`` does not.

    ``branches`` are layers beside these, on the same rows; the output takes what all of them give.
    """

    layers: list[LayerField] = Field(max_length=1000)
    branches: dict[Annotated[str, Field(pattern=r"^branch[1-9]\d{0,3}$")], list[LayerField]] = Field({})
    output: Literal["task", "own"] = "task"

    @model_validator(mode="after")
    def _names_are_unique(self) -> Layers:
        for layers in (self.layers, *self.branches.values()):
            names = [layer.name for layer in layers if layer.name]
            for name in names:
                if names.count(name) > 1:
                    raise ValueError(f"two layers are named {name!r}")
        return self


class Factory(Frozen):
    """A user's own ``nn.Module``: ``package.module:function``, called with ``arguments``, and the ``edits`` made since."""

    factory: str = Field(pattern=FUNCTION_PATTERN)
    arguments: dict[str, Any] = Field({})
    edits: list[EditField] = Field([])
    output: Literal["task", "own"] = "task"


def layers_of(network: Layers | Preset | Factory) -> Layers | None:
    """The layers of a network, also of a preset; None of a user's own."""
    if isinstance(network, Factory):
        return None
    return Layers(layers=network.layers()) if isinstance(network, Preset) else network


def _kind_of_network(value: Any) -> str | None:
    keys = value if isinstance(value, dict) else type(value).model_fields if isinstance(value, BaseModel) else {}
    return next((key for key in ("layers", "preset", "factory") if key in keys), None)


Network = Annotated[
    Annotated[Layers, Tag("layers")] | Annotated[Preset, Tag("preset")] | Annotated[Factory, Tag("factory")],
    Discriminator(
        _kind_of_network,
        custom_error_type="network",
        custom_error_message='a network has "layers", "preset" or "factory"',
    ),
]
