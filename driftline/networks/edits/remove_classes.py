"""Fewer classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, StrictInt, StrictStr

from driftline.networks.edits import Edit

if TYPE_CHECKING:
    from driftline.networks.edit_session import EditSession


class RemoveClasses(Edit):
    """Takes rows out of the output layer. The logits of the other classes stay; examples of these go."""

    type: Literal["remove_classes"] = "remove_classes"
    classes: list[StrictInt | StrictStr] = Field(min_length=1)

    def fill(self, session: EditSession) -> None:
        if session.spec.task != "classification":
            raise ValueError("a regression has no classes")
        keys = [(type(name), name) for name in session.classes]
        gone = {(type(name), name) for name in self.classes}
        for kind, name in gone:
            if (kind, name) not in keys:
                raise ValueError(f"there is no class {name!r}")
        stay = [index for index, key in enumerate(keys) if key not in gone]
        if not stay:
            raise ValueError("no class would be left")
        session.rehead(stay)
        for child in session.after.children():
            follow: Any = getattr(child, "keep_classes", None)
            if follow is not None:
                follow(stay)
        session.set_classes([session.classes[index] for index in stay])
