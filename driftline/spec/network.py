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

    layers: list[LayerField] = Field(max_length=1000, description="the layers, in order")
    branches: dict[Annotated[str, Field(pattern=r"^branch[1-9]\d{0,3}$")], list[LayerField]] = Field(
        {}, description="layers beside them on the same inputs, joined before the output, by name"
    )
    output: Literal["task", "own"] = Field(
        "task", description="`task`: an output layer for the task follows; `own`: the last layer is the output"
    )
    base: str | None = Field(
        None,
        exclude_if=lambda base: base is None,
        description="the model and version whose weights it began with, as `bert@3`",
    )

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

    factory: str = Field(
        pattern=FUNCTION_PATTERN,
        description="the function that builds the network, as `package.module:function`; the operator lists what is allowed",
    )
    arguments: dict[str, Any] = Field({}, description="what the function is called with")
    edits: list[EditField] = Field([], description="edits that have been made since, in order")
    output: Literal["task", "own"] = Field(
        "task", description="`task`: an output layer for the task follows; `own`: the network has its own"
    )
    base: str | None = Field(
        None,
        exclude_if=lambda base: base is None,
        description="the model and version whose weights it began with, as `bert@3`",
    )


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
