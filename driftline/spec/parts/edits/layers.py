"""Edits of whole layers: other ones, more, fewer, or trained in another way."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from driftline.spec.parts.edits import Edit
from driftline.spec.parts.layers import LayerField
from driftline.spec.parts.presets import Preset


class SwapActivation(Edit):
    """Puts the activation ``to`` in the place of one ``layer``, or of all.

    With ``blend`` the function stays at first, and changes smoothly over so many updates; else training has to repair it.
    """

    type: Literal["activation"] = "activation"
    to: str = Field(description="the new activation")
    layer: str | None = Field(None, description="the layer to replace; else every activation")
    blend: int | None = Field(
        None, ge=1, le=10_000_000, description="updates over which it changes smoothly; else at once"
    )

    @property
    def keeps_function(self) -> bool:
        return self.blend is not None


class Insert(Edit):
    """Puts a ``layer`` behind the one called ``after``, or in front of all. Rows keep their shape.

    It starts as identity where it can: linear, conv2d, prelu, dropout; batch_norm in evaluation mode (its running
    statistics start at 0 and 1, a batch's own do not). With layer_norm and the other activations the function changes.
    """

    type: Literal["insert"] = "insert"
    after: str | None = Field(None, description="the layer that it follows; else it is the first")
    layer: LayerField = Field(description="the new layer")

    @property
    def keeps_function(self) -> bool:
        return self.layer.can_be_identity


class Remove(Edit):
    """Takes a ``layer`` out, where what stands behind it takes the rows in front of it. The function changes."""

    type: Literal["remove"] = "remove"
    layer: str = Field(description="the layer to take out")


class Merge(Edit):
    """Makes one of two neighbouring ``layers``: two linear ones, or a linear or conv2d one and the batch_norm behind it.

    The function stays; a batch_norm's in evaluation mode.
    """

    type: Literal["merge"] = "merge"
    layers: list[str] = Field(min_length=2, max_length=2, description="the two neighbours")

    @property
    def keeps_function(self) -> bool:
        return True


class Concatenate(Edit):
    """A new ``branch`` of layers on the network's inputs, joined in front of the output; or the layers of another network,
    ``with``, given as ``{"preset": …}`` or ``{"layers": […]}``.

    The output takes nothing from it at first: the function stays.
    """

    type: Literal["concatenate"] = "concatenate"
    branch: list[LayerField] = Field(min_length=1, max_length=1000, description="the layers of the new branch")

    @property
    def keeps_function(self) -> bool:
        return True

    @model_validator(mode="before")
    @classmethod
    def _layers_of_another(cls, value: Any) -> Any:
        if not isinstance(value, dict) or "with" not in value:
            return value
        rest = {name: part for name, part in value.items() if name != "with"}
        other = value["with"]
        if "branch" in rest or not isinstance(other, dict) or not ({"preset", "layers"} & set(other)):
            raise ValueError('it takes either "branch", or "with" and a network of "layers" or a "preset"')
        layers = Preset.model_validate(other).layers() if "preset" in other else other["layers"]
        return {**rest, "branch": layers}


class GrowEmbedding(Edit):
    """Gives an embedding ``layer`` ``count`` vectors, as for users and items that were not there before.

    The last vector stands for every integer that has none of its own: it stays the last, and each new vector starts as a copy
    of it, so that the function stays.
    """

    type: Literal["grow_embedding"] = "grow_embedding"
    layer: str = Field(description="the embedding")
    count: int = Field(ge=2, le=100_000_000, description="how many vectors it then has")

    @property
    def keeps_function(self) -> bool:
        return True


class Freeze(Edit):
    """Leaves ``layers``, or all in front of the output, out of training. The function stays."""

    type: Literal["freeze"] = "freeze"
    layers: list[str] | None = Field(None, min_length=1, description="which layers; else all before the output")

    @property
    def keeps_function(self) -> bool:
        return True


class Unfreeze(Edit):
    """Lets ``layers``, or all, be trained again. The function stays."""

    type: Literal["unfreeze"] = "unfreeze"
    layers: list[str] | None = Field(None, min_length=1, description="which layers; else all")

    @property
    def keeps_function(self) -> bool:
        return True


class AddAdapters(Edit):
    """Freezes ``layers``, or all linear and convolution layers, and trains an adapter of ``rank`` on each.

    Of a network of your own also embeddings, attention and Transformers' ``Conv1D`` can have one (LoRA, Hu et al. 2021). An
    adapter starts at zero: the function stays.
    """

    type: Literal["adapter"] = "adapter"
    rank: int = Field(ge=1, le=10_000, description="the rank of each adapter")
    layers: list[str] | None = Field(
        None, min_length=1, description="which layers; else all linear and convolution layers"
    )
    alone: bool = Field(
        False, exclude_if=lambda alone: not alone, description="whether all else is frozen, but the output layer"
    )

    @property
    def keeps_function(self) -> bool:
        return True


class MergeAdapters(Edit):
    """Puts every adapter into its weight, which is trained again unless it was frozen before. The function stays."""

    type: Literal["merge_adapters"] = "merge_adapters"

    @property
    def keeps_function(self) -> bool:
        return True
