"""Structure edits, one file a kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from driftline.errors import InvalidInput
from driftline.registry import Part, Registry

if TYPE_CHECKING:
    from driftline.networks.build import Served
    from driftline.spec import ModelSpec


@dataclass(frozen=True)
class Kept:
    """Where all of the old parameter ``old`` is found in the new parameter ``new``: in its leading ``rows``."""

    old: str
    new: str
    rows: int


@dataclass(frozen=True)
class Edited:
    """What an edit gives. Parameters that it does not name in ``kept`` stayed as they were, or are new."""

    spec: ModelSpec
    classes: list[int | str]
    module: Served
    kept: list[Kept] = field(default_factory=list)


class Edit(Part):
    """One change of a network's structure."""

    type: str

    def apply(self, spec: ModelSpec, classes: Sequence[int | str], module: Served) -> Edited:
        """The changed model; ``module`` itself stays as it is.

        Raises:
            ValueError: why the edit does not fit; it names the layer.
        """
        raise NotImplementedError


EDITS = Registry(Edit, __name__, tag="type")


def parse_edits(values: Sequence[dict[str, Any]]) -> list[Edit]:
    """Edits from their JSON; :class:`InvalidInput` names the index of the one that does not parse."""
    edits = []
    for index, value in enumerate(values):
        try:
            edits.append(EDITS.parse(value))
        except ValidationError as error:
            reason = error.errors(include_url=False, include_context=False)[0]["msg"]
            raise InvalidInput(f"edits.{index}: {reason}", field=f"edits.{index}", value=value) from None
    return edits


def apply_all(edits: Sequence[Edit], edited: Edited) -> Edited:
    """One edit after the other; :class:`InvalidInput` names the index of the one that does not fit."""
    kept = list(edited.kept)
    for index, edit in enumerate(edits):
        try:
            edited = edit.apply(edited.spec, edited.classes, edited.module)
        except ValueError as error:
            field, value = f"edits.{index}", edit.model_dump(mode="json")
            raise InvalidInput(f"{field} ({edit.type}): {error}", field=field, value=value) from None
        kept += edited.kept
    return Edited(edited.spec, edited.classes, edited.module, kept)
