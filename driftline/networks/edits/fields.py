"""Fields that come, that go by other names, and that no longer come."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import ValidationError

from driftline.networks.edit_session import EditSession
from driftline.networks.edits import EditBehaviour
from driftline.networks.wider_inputs import widen_inputs
from driftline.spec.parts.edits.fields import AddField, DropField, RenameField
from driftline.spec.parts.fields import FieldsSpec, RowField

Fields = Mapping[str, RowField]


class AddFieldEdit(EditBehaviour[AddField]):
    """Reads one more field: the last of the row, so that all others stay where they are among their kind.

    Every row is answered as before. What the new field's features are weighed by is zero; its trained vectors are zero, and
    what these are weighed by is not, or neither would ever learn.
    """

    def fill(self, session: EditSession) -> None:
        name, field, before = self.parameters.name, self.parameters.field, session.spec

        def with_one_more(fields: Fields) -> dict[str, Any]:
            former = fields.get(name)
            if former is None:
                return {**fields, name: field}
            if not former.dropped:
                raise ValueError(f"there is a field {name!r} already")
            if former.model_copy(update={"dropped": False, "aliases": field.aliases}) != field:
                raise ValueError(
                    f"the field {name!r}, which was dropped, is a {former.type}, and as such alone comes back"
                )
            return {**fields, name: former.model_copy(update={"dropped": False})}

        _change(session, None, with_one_more)
        if session.spec.network_inputs != before.network_inputs:
            widen_inputs(session, before)


class RenameFieldEdit(EditBehaviour[RenameField]):
    """Calls a field otherwise."""

    def fill(self, session: EditSession) -> None:
        before, to = self.parameters.field, self.parameters.to

        def renamed(fields: Fields) -> dict[str, Any]:
            if to in fields:
                raise ValueError(f"two fields go by the name {to!r}")
            aliases = [alias for alias in (*fields[before].aliases, before) if alias != to]
            new = fields[before].model_copy(update={"aliases": aliases})
            # In its place: the numbers of a row stay where they are.
            return {to if name == before else name: new if name == before else field for name, field in fields.items()}

        _change(session, before, renamed)


class DropFieldEdit(EditBehaviour[DropField]):
    """Reads a field no more."""

    def fill(self, session: EditSession) -> None:
        gone = self.parameters.field

        def without(fields: Fields) -> dict[str, Any]:
            if fields[gone].dropped or not fields[gone].is_read:
                raise ValueError(f"the field {gone!r} is not read")
            return {**fields, gone: fields[gone].model_copy(update={"dropped": True})}

        _change(session, gone, without)


def _change(session: EditSession, field: str | None, change: Callable[[Fields], dict[str, Any]]) -> None:
    """Gives the model other fields in the places of the former ones; ``field`` is one that there must be."""
    inputs = session.spec.inputs
    if not isinstance(inputs, FieldsSpec):
        raise ValueError("the model takes tensors, and has no fields")
    if field is not None and field not in inputs.fields:
        raise ValueError(f"there is no field {field!r}; there are {', '.join(map(repr, inputs.fields))}")
    fields = {name: each.model_dump() for name, each in change(inputs.fields).items()}
    try:
        changed = FieldsSpec.model_validate({**inputs.model_dump(), "fields": fields})
    except ValidationError as error:
        raise ValueError(error.errors()[0]["msg"].removeprefix("Value error, ")) from None
    session.spec = session.spec.changed(inputs=changed)
    session.after.follow_fields(session.spec)
