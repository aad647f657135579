"""Who runs in a retrain: the one recipe that was asked for, or several that are compared."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pydantic import Field, model_validator

from driftline.errors import InvalidInput
from driftline.learning.retraining.budget import FEWEST_EXAMPLES, HalvingBudget, halving, searching
from driftline.learning.retraining.recipe_changes import (
    NO_VERSIONS,
    Versions,
    changed_recipe,
    check_fit,
    check_versions,
    examples_an_update,
    named_versions,
)
from driftline.networks.build import check_loss
from driftline.networks.clone import sibling
from driftline.networks.edit_session import EditResult, Sources
from driftline.networks.edits import apply_all
from driftline.networks.model import Model
from driftline.networks.price import UNLIMITED, ModelBudget, state_bytes
from driftline.networks.sequential import example_rows
from driftline.networks.served_model import ServedModel
from driftline.spec import Frozen, ModelSpec, parse
from driftline.spec.classes import are_in_place, class_indices
from driftline.spec.parts.edits import Edit, parse_edits

FIND = "find"
"""The learning rate of a retrain that is to find it."""
FIND_FIELD = "recipe.optimizer.learning_rate"
FACTORS = (1 / 30, 1 / 10, 1 / 3, 1.0, 3.0, 10.0, 30.0)
"""The rates that race then, in units of the recipe's own."""
HIGHEST_RATE = 100.0


class PlanEntry(Frozen):
    """What one trial has of its own: changes of the recipe, and edits behind those of the job.

    Changes alone may stand for it: ``{"batch_size": 8}`` is ``{"recipe": {"batch_size": 8}}``.
    """

    recipe: dict[str, Any] = Field({})
    edits: list[dict[str, Any]] = Field([], max_length=100)

    @model_validator(mode="before")
    @classmethod
    def _may_be_changes_alone(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            raise ValueError(f'an entry is an object such as {{"batch_size": 8}}, not {value!r:.100}')
        return value if value.keys() & cls.model_fields.keys() else {"recipe": value}

    def as_json(self) -> dict[str, Any]:
        return self.model_dump(exclude_unset=True)


@dataclass(frozen=True)
class RetrainPlan:
    """What a retrain compares: ``entries``, each merged over the job's ``recipe`` and behind its ``edits``; or a single one.

    ``spec`` is the model's with the job's recipe. ``is_search``: the entries are learning rates, of which one is to be found.
    """

    spec: ModelSpec
    recipe: Mapping[str, Any]
    edits: list[Edit]
    entries: list[PlanEntry]
    is_search: bool = False

    @classmethod
    def of(
        cls,
        spec: ModelSpec,
        recipe: Mapping[str, Any],
        edits: Sequence[dict[str, Any]] = (),
        race: Sequence[Any] = (),
    ) -> RetrainPlan:
        """The retrain plan of a retrain of ``spec``; ``race`` holds the JSON of the entries that are compared, if any are.

        Raises:
            InvalidInput: what does not fit, by its field.
        """
        rest, is_search = _without_search(recipe)
        if race and is_search:
            message = f'{FIND_FIELD}: "{FIND}" is a race of its own; name the rates as entries of "race"'
            raise InvalidInput(message, field=FIND_FIELD, value=FIND)
        changed = changed_recipe(spec, rest)
        entries = [_entry(number, value) for number, value in enumerate(race)]
        if is_search:
            entries = _rates(changed.recipe.optimizer.learning_rate)
        return cls(changed, rest, parse_edits(edits), entries or [PlanEntry()], is_search)

    def models(
        self, classes: Sequence[int | str], module: ServedModel, sources: Sources, factories: Collection[str]
    ) -> Iterator[EditResult]:
        """What each entry makes of ``module``, which stays as it is, and of the ``classes`` that it answers.

        Raises:
            InvalidInput: what does not fit, by its field.
        """
        check_loss(self.spec, factories)
        common = apply_all(self.edits, Model(self.spec, list(classes), module), sources)
        for number, entry in enumerate(self.entries):
            with self._naming(number):
                spec, own = changed_recipe(common.spec, entry.recipe), sibling(common.module)
                check_loss(spec, factories)
                parsed = parse_edits(entry.edits)
                edited = apply_all(parsed, Model(spec, common.classes, own), sources)
                _check_classes_stay(common, edited)
                check_fit(edited.spec, edited.module)
            keeps_function = common.keeps_function and edited.keeps_function
            yield dataclasses.replace(edited, keeps_function=keeps_function)

    def budget(self, specs: Sequence[ModelSpec], examples: int, epochs: int) -> HalvingBudget:
        """How far each entry goes, with what the recipe of its spec takes an update."""
        batches = [examples_an_update(spec) for spec in specs]
        totals = [epochs * math.ceil(examples / batch) for batch in batches]
        return searching(len(specs), totals[0], examples, batches[0]) if self.is_search else halving(totals)

    def check_examples(self, distinct: int) -> None:
        """:class:`InvalidInput` where so many examples with different inputs are too few to judge a race by."""
        if len(self.entries) > 1 and distinct < FEWEST_EXAMPLES:
            field = FIND_FIELD if self.is_search else "race"
            message = (
                f"{field}: it takes {FEWEST_EXAMPLES} different examples to train on and be judged by, not {distinct}"
            )
            raise InvalidInput(message, field=field, value=distinct)

    @property
    def versions(self) -> list[int]:
        """The kept versions whose weights the recipes and edits need; :class:`InvalidInput` where an edit does not parse."""
        found = {*named_versions(self.recipe), *_needed_versions(self.edits)}
        for number, entry in enumerate(self.entries):
            with self._naming(number):
                found |= {*named_versions(entry.recipe), *_needed_versions(parse_edits(entry.edits))}
        return sorted(found)

    def check_versions(self, versions: Collection[int]) -> None:
        """:class:`InvalidInput` where a recipe names a version whose weights are not among ``versions``."""
        check_versions(self.recipe, versions)
        for number, entry in enumerate(self.entries):
            with self._naming(number):
                check_versions(entry.recipe, versions)

    @contextmanager
    def _naming(self, number: int) -> Iterator[None]:
        """Places an error in the entry that it is of, where there are several."""
        try:
            yield
        except InvalidInput as error:
            if len(self.entries) == 1:
                raise
            raise error.within(place(number), self.entries[number].as_json()) from None


def place(number: int) -> str:
    """Where an entry stands in what was sent."""
    return f"race[{number}]"


def check_retrain(
    before: Model,
    retrain_plan: RetrainPlan,
    factories: Collection[str],
    versions: Versions = NO_VERSIONS,
    budget: ModelBudget = UNLIMITED,
) -> int:
    """The bytes of weights that a retrain gives a model at most, before anything is changed; :class:`InvalidInput` says what
    does not fit.

    ``versions`` are the weights of those that the retrain plan names, ``budget`` what the model may take.
    """
    sources = Sources(versions, example_rows(retrain_plan.spec), budget=budget)
    models = retrain_plan.models(before.classes, before.module, sources, factories)
    return max(state_bytes(each.model.module) for each in models)


def _check_classes_stay(common: EditResult, edited: EditResult) -> None:
    """The entries of a race are judged on the same examples."""
    indices = class_indices(common.classes, edited.classes)
    if not are_in_place(indices):
        gone = [name for name, index in zip(common.classes, indices, strict=True) if index is None]
        message = "edits: what races is judged on the same classes; remove classes by the edits of the job"
        raise InvalidInput(message, field="edits", value=gone or edited.classes)


def _needed_versions(edits: Sequence[Edit]) -> list[int]:
    return [number for edit in edits for number in edit.needed_versions]


def _entry(number: int, value: Any) -> PlanEntry:
    try:
        return parse(PlanEntry, value)
    except InvalidInput as error:
        raise error.within(place(number), value) from None


def _without_search(recipe: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
    """Changes of a recipe without ``"learning_rate": "find"``, and whether that was there."""
    optimizer = recipe.get("optimizer")
    if not isinstance(optimizer, Mapping) or optimizer.get("learning_rate") != FIND:
        return dict(recipe), False
    rest = {name: value for name, value in optimizer.items() if name != "learning_rate"}
    return {**recipe, "optimizer": rest}, True


def _rates(rate: float) -> list[PlanEntry]:
    rates = [min(HIGHEST_RATE, float(f"{rate * factor:.3g}")) for factor in FACTORS]
    return [PlanEntry(recipe={"optimizer": {"learning_rate": each}}) for each in rates]
