"""Structure edits, one file a kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from driftline.errors import InvalidInput
from driftline.networks.parameter_map import ParameterBlock, compose
from driftline.registry import Part, Registry

if TYPE_CHECKING:
    from torch import Tensor

    from driftline.networks.build import ServedModel
    from driftline.networks.edit_session import EditSession
    from driftline.networks.structure import Structure
    from driftline.spec import ModelSpec


@dataclass(frozen=True)
class Sources:
    """What an edit may ask for beside the model.

    Args:
        weights: the tensors of the kept versions that edits need, by version and name.
        inputs: rows that the model was asked or taught, by input name; they tell which units are dead.
        error_of: how wrong a module is on examples that are kept from training; None where nothing is judged.
    """

    weights: Mapping[int, Mapping[str, Tensor]] = field(default_factory=dict)
    inputs: Mapping[str, Tensor] | None = None
    error_of: Callable[[ServedModel], float] | None = None


@dataclass(frozen=True)
class Edited:
    """What edits give. ``kept`` names every parameter that lives on, in whole or in part; all others are new.

    Where ``keeps_function`` is not true, outputs have changed, and training or distillation has to repair them.
    """

    spec: ModelSpec
    classes: list[int | str]
    module: ServedModel
    kept: list[ParameterBlock] = field(default_factory=list)
    keeps_function: bool = True


class Edit(Part):
    """One change of a network's structure or weights.

    :meth:`restructure` changes the structure alone: a network of a user's own is built anew from its factory and the record
    of these changes. :meth:`fill` then sets the weights.
    """

    type: str

    @property
    def keeps_function(self) -> bool:
        """Whether the outputs in evaluation mode stay as they are, up to rounding."""
        return False

    @property
    def needed_versions(self) -> list[int]:
        """The kept versions whose weights it asks for."""
        return []

    def resolved(self, session: EditSession) -> Edit:
        """The edit without what depends on weights: what is recorded, and can be repeated without them."""
        return self

    def restructure(self, structure: Structure) -> None:
        """Changes layers or submodules; weights may be anything. :class:`ValueError` says why they cannot be changed."""

    def fill(self, session: EditSession) -> None:
        """Sets the weights that did not simply stay; :class:`ValueError` says why they cannot be set."""

    def apply(
        self, spec: ModelSpec, classes: Sequence[int | str], module: ServedModel, sources: Sources | None = None
    ) -> Edited:
        """The changed model; ``module`` itself stays as it is.

        Raises:
            ValueError: why the edit does not fit; it names the layer.
        """
        from driftline.networks.edit_session import EditSession

        session = EditSession(spec, classes, module, sources or Sources())
        edit = self.resolved(session)
        session.restructure(edit)
        edit.fill(session)
        return session.finish(self.keeps_function)


EDITS = Registry(Edit, __name__, tag="type")


def parse_edits(values: Sequence[dict[str, Any]]) -> list[Edit]:
    """Edits from their JSON; :class:`InvalidInput` names the field of the one that does not parse."""
    from driftline.spec import invalid

    edits = []
    for index, value in enumerate(values):
        try:
            edits.append(EDITS.parse(value))
        except ValidationError as error:
            raise invalid(error, value).within(f"edits.{index}", value) from None
    return edits


def apply_all(edits: Sequence[Edit], edited: Edited, sources: Sources | None = None) -> Edited:
    """One edit after the other; :class:`InvalidInput` names the index of the one that does not fit."""
    kept, keeps_function = whole(edited.module), edited.keeps_function
    for index, edit in enumerate(edits):
        try:
            edited = edit.apply(edited.spec, edited.classes, edited.module, sources)
        except ValueError as error:
            field, value = f"edits.{index}", edit.model_dump(mode="json")
            raise InvalidInput(f"{field} ({edit.type}): {error}", field=field, value=value) from None
        kept = compose(kept, edited.kept)
        keeps_function = keeps_function and edited.keeps_function
    return Edited(edited.spec, edited.classes, edited.module, kept, keeps_function)


def whole(module: ServedModel) -> list[ParameterBlock]:
    """Every parameter of a module, as it is."""
    return [ParameterBlock(name, name) for name, _ in module.named_parameters()]
