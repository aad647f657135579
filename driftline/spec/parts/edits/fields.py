"""Edits of the fields of a row."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from driftline.spec.parts.edits import Edit
from driftline.spec.parts.fields import AnyField, FieldName


class AddField(Edit):
    """Reads one more field, which is missing in every row that came before. One that was dropped is read again."""

    type: Literal["add_field"] = "add_field"
    name: FieldName = Field(description="what it is called")
    field: AnyField = Field(description="what it is: a type, or an object with its options")

    @property
    def keeps_function(self) -> bool:
        return True


class RenameField(Edit):
    """Calls a field otherwise. Rows in which it has its former name are read as before, also those of the log."""

    type: Literal["rename_field"] = "rename_field"
    field: str = Field(description="the field")
    to: str = Field(min_length=1, max_length=200, description="what it is called from now on")

    @property
    def keeps_function(self) -> bool:
        return True


class DropField(Edit):
    """Reads a field no more: every row is answered as one in which it is missing. What was learned of it is kept."""

    type: Literal["drop_field"] = "drop_field"
    field: str = Field(description="the field")
