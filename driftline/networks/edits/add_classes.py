"""More classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, StrictInt, StrictStr

from driftline.networks.edits import Edit

if TYPE_CHECKING:
    from driftline.networks.edit_session import EditSession

FIRST_BIAS = -4.0


class AddClasses(Edit):
    """New rows in the output layer. The logits of the old classes stay as they are; a new class starts as an unlikely one."""

    type: Literal["add_classes"] = "add_classes"
    classes: list[StrictInt | StrictStr] = Field(min_length=1)

    @property
    def keeps_function(self) -> bool:
        return True

    def fill(self, session: EditSession) -> None:
        if session.spec.task != "classification":
            raise ValueError("a regression has no classes")
        before = session.classes
        both = [*before, *self.classes]
        keys = [(type(name), name) for name in both]
        for name in self.classes:
            if keys.count((type(name), name)) > 1:
                raise ValueError(f"there is a class {name!r} already")
        # The first classes of all start level; later ones must not take probability from those that are known.
        session.rehead([*range(len(before)), *(None for _ in self.classes)], FIRST_BIAS if before else 0.0)
        session.set_classes(both)
        for child in session.after.children():
            follow: Any = getattr(child, "add_classes", None)
            if follow is not None:
                follow(len(self.classes))
