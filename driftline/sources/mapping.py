"""Where the parts of a label stand in a record: by the names of its fields, or by JMESPath."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jmespath
from jmespath.exceptions import JMESPathError
from pydantic import Field

from driftline.errors import InvalidInput
from driftline.spec.parse import Frozen

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
            self._path = jmespath.compile(text)
        except JMESPathError:
            self._path = None  # A column may have any name.

    def __call__(self, record: Mapping[str, Any]) -> Any:
        """What stands there; None where nothing does. :class:`InvalidInput`: the expression does not fit the record."""
        if self.text in record or self._path is None:
            return record.get(self.text)
        try:
            return self._path.search(record)
        except JMESPathError as error:
            message = f"mapping: {self.text!r} cannot be looked up: {error}"
            raise InvalidInput(message, field="mapping", value=self.text) from None
