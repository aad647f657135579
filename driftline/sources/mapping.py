"""Where the parts of a label stand in a record: by the names of its fields, or by JMESPath."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import jmespath
from jmespath.exceptions import JMESPathError
from pydantic import Field

from driftline.errors import InvalidInput
from driftline.spec.parse import Frozen

_Found: TypeAlias = Callable[[Any], Any]
PARTS = ("prediction_id", "key", "id", "label", "weight", "source", "time")
"""The parts of an item beside its inputs."""


class RecordMapping(Frozen):
    """Each part is the name of a field of the record, or a JMESPath expression: ``payload.user.age``.

    Without ``inputs``, ``prediction_id`` and ``key`` the fields of the model are taken by their own names.
    """

    inputs: str | dict[str, str] | None = Field(
        None, description="the row: where it stands, or by field of the model where each value stands"
    )
    label: str = Field("label", min_length=1, description="the label")
    prediction_id: str | None = Field(None, min_length=1, description="the prediction that the label belongs to")
    key: str | None = Field(None, min_length=1, description="your own name of what the label is about")
    id: str | None = Field(None, min_length=1, description="an id of the record's own")
    weight: str | None = Field(None, min_length=1, description="the weight of the label")
    source: str | None = Field(None, min_length=1, description="who the label came from")
    time: str | None = Field(
        None, min_length=1, description="when the label was known: ISO 8601, or a number since 1970"
    )
    revise: bool = Field(False, description="whether a record may correct the label that there is")


class Place:
    """A place in a record: the field of this name, where there is one, else what JMESPath finds."""

    def __init__(self, text: str) -> None:
        self.text = text
        try:
            path = jmespath.compile(text)
        except JMESPathError:
            self._found: _Found | None = None  # A column may have any name.
        else:
            self._found = _compiled(path.parsed) or path.search

    def __call__(self, record: Mapping[str, Any]) -> Any:
        """What stands there; None where nothing does. :class:`InvalidInput`: the expression does not fit the record."""
        if self.text in record or self._found is None:
            return record.get(self.text)
        try:
            return self._found(record)
        except JMESPathError as error:
            message = f"mapping: {self.text!r} cannot be looked up: {error}"
            raise InvalidInput(message, field="mapping", value=self.text) from None


def _compiled(node: Mapping[str, Any]) -> _Found | None:
    """What a parsed expression finds, as a function of its own; None where it has more in it than fields, fields of fields,
    lists of them and ``||``.

    The interpreter of JMESPath walks the parsed expression for each record, which takes several times as long.
    """
    kind, name = node["type"], node.get("value")
    if kind == "field":
        return lambda value: value.get(name) if isinstance(value, dict) else None
    children = [_compiled(child) for child in node["children"]] if kind in _COMPILED else [None]
    found = [child for child in children if child is not None]
    return _COMPILED[kind](found) if len(found) == len(children) else None


def _field_of_field(children: list[_Found]) -> _Found:
    def found(value: Any) -> Any:
        for child in children:
            value = child(value)
        return value

    return found


def _list(children: list[_Found]) -> _Found:
    return lambda value: None if value is None else [child(value) for child in children]


def _first_that_is_there(children: list[_Found]) -> _Found:
    def found(value: Any) -> Any:
        first = children[0](value)
        is_missing = first is None or first is False or first in ("", [], {})
        return children[1](value) if is_missing else first

    return found


_COMPILED = {"subexpression": _field_of_field, "multi_select_list": _list, "or_expression": _first_that_is_there}
