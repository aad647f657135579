"""A branch beside the network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from driftline.networks.edits import Edit
from driftline.networks.fields import LayerField
from driftline.networks.presets import Preset

if TYPE_CHECKING:
    from driftline.networks.edit_session import EditSession
    from driftline.networks.structure import Structure


class Concatenate(Edit):
    """A new ``branch`` of layers on the network's inputs, joined in front of the output; or the layers of another network,
    ``with``, given as ``{"preset": …}`` or ``{"layers": […]}``.

    The output takes nothing from it at first: the function stays.
    """

    type: Literal["concatenate"] = "concatenate"
    branch: list[LayerField] = Field(min_length=1, max_length=1000)

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

    def resolved(self, session: EditSession) -> Edit:
        """The same; refused where the network has its own output."""
        assert session.head is not None
        return self

    def restructure(self, structure: Structure) -> None:
        structure.join(self.branch)

    def fill(self, session: EditSession) -> None:
        from torch import nn

        from driftline.networks.parameter_map import along_axis

        old = session.old["output.weight"]
        session.set("output.weight", nn.functional.pad(old, (0, session.head.in_features - old.shape[1])))
        columns = range(old.shape[1])
        session.keep(along_axis("output.weight", "output.weight", 1, columns, columns))
