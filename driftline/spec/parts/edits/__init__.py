"""The parameters of structure edits; :mod:`driftline.networks.edits` carries them out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from driftline.spec.parse import invalid
from driftline.spec.registry import Part, Registry


class Edit(Part):
    """One change of a network's structure or weights."""

    type: str

    @property
    def keeps_function(self) -> bool:
        """Whether the outputs in evaluation mode stay as they are, up to rounding."""
        return False

    @property
    def needed_versions(self) -> list[int]:
        """The kept versions whose weights it asks for."""
        return []


EDITS = Registry(Edit, __name__, tag="type")


def parse_edits(values: Sequence[dict[str, Any]]) -> list[Edit]:
    """Edits from their JSON; :class:`InvalidInput` names the field of the one that does not parse."""
    edits = []
    for index, value in enumerate(values):
        try:
            edits.append(EDITS.parse(value))
        except ValidationError as error:
            raise invalid(error, value).within(f"edits.{index}", value) from None
    return edits
