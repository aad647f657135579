"""Fewer classes."""

from __future__ import annotations

from typing import Any

from driftline.networks.edit_session import EditSession
from driftline.networks.edits import EditBehaviour
from driftline.networks.user_code import user_code
from driftline.spec.parts.edits.weights import RemoveClasses


class RemoveClassesEdit(EditBehaviour[RemoveClasses]):
    """Takes rows out of the output layer."""

    def fill(self, session: EditSession) -> None:
        if not session.spec.kind.has_classes:
            raise ValueError(f"a {session.spec.task} has no classes")
        if session.spec.kind.is_multilabel:
            raise ValueError(
                "the classes of a multi-label model are for good: its examples say of each whether it is there"
            )
        keys = [(type(name), name) for name in session.classes]
        gone = {(type(name), name) for name in self.parameters.classes}
        for kind, name in gone:
            if (kind, name) not in keys:
                raise ValueError(f"there is no class {name!r}")
        stay = [index for index, key in enumerate(keys) if key not in gone]
        if not stay:
            raise ValueError("no class would be left")
        session.rehead(stay)
        for child_name, child in session.after.named_children():
            follow: Any = getattr(child, "keep_classes", None)
            if follow is not None:
                with user_code(f"keep_classes of the {child_name}"):
                    follow(stay)
        session.set_classes([session.classes[index] for index in stay])
