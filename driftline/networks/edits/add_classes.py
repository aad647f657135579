"""More classes."""

from __future__ import annotations

from typing import Any

from driftline.networks.edit_session import EditSession
from driftline.networks.edits import EditBehaviour
from driftline.networks.user_code import user_code
from driftline.spec.parts.edits.weights import AddClasses

NEW_CLASS_BIAS = -4.0
"""Later classes must not take probability from those that are known; the first of all start level, at 0."""


class AddClassesEdit(EditBehaviour[AddClasses]):
    """New rows in the output layer."""

    def fill(self, session: EditSession) -> None:
        if not session.spec.kind.has_classes:
            raise ValueError(f"a {session.spec.task} has no classes")
        if session.spec.kind.is_multilabel:
            raise ValueError(
                "the classes of a multi-label model are for good: its examples say of each whether it is there"
            )
        before, new = session.classes, self.parameters.classes
        both = [*before, *new]
        keys = [(type(name), name) for name in both]
        for name in new:
            if keys.count((type(name), name)) > 1:
                raise ValueError(f"there is a class {name!r} already")
        session.rehead([*range(len(before)), *(None for _ in new)], NEW_CLASS_BIAS if before else 0.0)
        session.set_classes(both)
        for name, child in session.after.named_children():
            follow: Any = getattr(child, "add_classes", None)
            if follow is not None:
                with user_code(f"add_classes of the {name}"):
                    follow(len(new))
