"""Structure edits: what each does to a model, one file a kind, and how they are applied."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from driftline.errors import InvalidInput, UserCodeFailed
from driftline.networks.edit_session import EditResult, EditSession, Sources
from driftline.networks.model import Model
from driftline.networks.parameter_map import compose, identity_map
from driftline.networks.structure.base import Structure
from driftline.spec.parts.edits import Edit
from driftline.spec.registry import Behaviour, Behaviours

E = TypeVar("E", bound=Edit)


class EditBehaviour(Behaviour[E]):
    """Carries an edit out.

    :meth:`restructure` changes the structure alone: a network of a user's own is built again from its factory and the record
    of these changes. :meth:`fill` then sets the weights.
    """

    def resolved(self, session: EditSession) -> Edit:
        """The edit without what depends on weights: what is recorded, and can be repeated without them."""
        return self.parameters

    def restructure(self, structure: Structure) -> None:
        """Changes layers or submodules; weights may be anything. :class:`ValueError` says why they cannot be changed."""

    def fill(self, session: EditSession) -> None:
        """Sets the weights that did not simply stay; :class:`ValueError` says why they cannot be set."""


EDIT_BEHAVIOURS: Behaviours[Edit, EditBehaviour[Any]] = Behaviours(EditBehaviour, __name__)


def behaviour(edit: Edit) -> EditBehaviour[Any]:
    """What carries ``edit`` out."""
    return EDIT_BEHAVIOURS.of(edit)(edit)


def apply_edit(edit: Edit, model: Model, sources: Sources | None = None) -> EditResult:
    """The changed model; ``model`` itself stays as it is.

    Raises:
        ValueError: why the edit does not fit; it names the layer.
        UserCodeFailed: code of the user's own has raised.
    """
    session = EditSession(model, sources)
    resolved = behaviour(edit).resolved(session)
    change = behaviour(resolved)
    if type(change).restructure is not EditBehaviour.restructure:
        session.restructure(change.restructure, resolved)
    change.fill(session)
    return session.finish(edit.keeps_function)


def apply_all(edits: Sequence[Edit], model: Model, sources: Sources | None = None) -> EditResult:
    """One edit after the other; :class:`InvalidInput` names the index of the one that does not fit."""
    whole = EditResult(model, identity_map(model.module))
    for index, edit in enumerate(edits):
        try:
            step = apply_edit(edit, whole.model, sources)
        except (ValueError, UserCodeFailed) as error:
            field, value = f"edits.{index}", edit.model_dump(mode="json")
            raise InvalidInput(f"{field} ({edit.type}): {error}", field=field, value=value) from None
        if sources is not None:
            sources.budget.check_module(step.module)
        parameter_map = compose(whole.parameter_map, step.parameter_map)
        whole = EditResult(step.model, parameter_map, whole.keeps_function and step.keeps_function)
    return whole
