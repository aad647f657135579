"""Changes of a recipe, and whether they fit."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypeAlias

from torch import Tensor

from driftline.errors import InvalidInput
from driftline.learning.search_budget import search_updates
from driftline.networks.build import Served, build, check_loss, example_rows
from driftline.networks.describe import dry_run
from driftline.networks.edits import Edited, Sources, apply_all, parse_edits
from driftline.spec import ModelSpec, Recipe, parse

Versions: TypeAlias = Mapping[int, Mapping[str, Tensor]]
"""The weights of kept versions, by version and name."""
NO_VERSIONS: Versions = {}
FIND = "find"
"""The learning rate of a retrain that is to find it."""


def changed_recipe(spec: ModelSpec, changes: Mapping[str, Any]) -> ModelSpec:
    """The spec with changes merged over its recipe; :class:`InvalidInput` names the field that does not fit."""
    whole = spec.model_dump(mode="json")
    return parse(ModelSpec, {**whole, "recipe": _merged(whole["recipe"], changes)})


def checked_recipe(
    spec: ModelSpec, changes: Mapping[str, Any], versions: Collection[int], factories: Collection[str]
) -> ModelSpec:
    """What :func:`changed_recipe` gives, where also the ``versions`` that are named are known, and the loss is allowed."""
    check_versions(changes, versions)
    changed = changed_recipe(spec, changes)
    check_loss(changed, factories)
    return changed


def examples_an_update(spec: ModelSpec) -> int:
    """Of a retrain: more than a step of the stream takes, since a job has all of them at once."""
    return 2 * spec.recipe.batch_size


def _merged(value: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Objects are merged, unless they are parts of another name: these come with parameters of their own."""
    result = dict(value)
    for key, change in changes.items():
        old = value.get(key)
        is_same_part = (
            isinstance(change, Mapping)
            and isinstance(old, Mapping)
            and change.get("name", old.get("name")) == old.get("name")
        )
        result[key] = _merged(old, change) if is_same_part else change  # type: ignore[arg-type]
    return result


def check_recipe(
    spec: ModelSpec,
    classes: Sequence[int | str],
    changes: Mapping[str, Any],
    factories: Collection[str],
) -> None:
    """Whether changes of a recipe fit a model, before anything is changed; :class:`InvalidInput` says what does not."""
    changed = changed_recipe(spec, changes)
    check_fit(changed, build(changed, classes, factories=factories, seed=0))


def check_retrain(
    before: Edited,
    recipe: Mapping[str, Any],
    edits: Sequence[dict[str, Any]],
    factories: Collection[str],
    versions: Versions = NO_VERSIONS,
) -> None:
    """Whether a recipe and edits fit a model, before anything is changed; :class:`InvalidInput` says what does not.

    ``versions`` are the weights of those that the edits name.
    """
    changed = changed_recipe(before.spec, without_search(recipe)[0])
    check_loss(changed, factories)
    sources = Sources(versions, example_rows(changed))
    edited = apply_all(parse_edits(edits), dataclasses.replace(before, spec=changed), sources)
    check_classes_stay(before.classes, edited)
    check_fit(edited.spec, edited.module)


def preview(
    before: Edited,
    recipe: Mapping[str, Any],
    edits: Sequence[dict[str, Any]],
    epochs: int,
    examples: int,
    versions: Versions = NO_VERSIONS,
) -> dict[str, Any]:
    """What a retrain of ``before`` would give, and cost; nothing is changed.

    Args:
        examples: how many there are at most to train on.
        versions: the weights of those that the edits name.

    Returns:
        ``before`` and ``after`` as :func:`driftline.networks.describe.describe` gives them, ``keeps_function``, and
        ``training``: ``examples``, ``updates``, and ``flops``, the operations of all of these: a backward pass counts twice a
        forward one.

    Raises:
        InvalidInput: the recipe or an edit does not fit.
    """
    recipe, is_searching = without_search(recipe)
    changed = changed_recipe(before.spec, recipe)
    sources = Sources(versions, example_rows(changed))
    found = dry_run(parse_edits(edits), dataclasses.replace(before, spec=changed), sources)
    batch_size = examples_an_update(changed)
    updates = epochs * math.ceil(examples / batch_size) + (search_updates(examples, batch_size) if is_searching else 0)
    flops = 3 * found["after"]["flops"] * updates * batch_size
    return {**found, "training": {"examples": examples, "updates": updates, "flops": flops}}


def check_classes_stay(classes: Sequence[int | str], edited: Edited) -> None:
    """Memory, holdout and champion count classes by their index, and a job's must count as they do."""
    if edited.class_indices(classes) != list(range(len(classes))):
        message = "edits: a model that learns cannot lose a class yet; rows of it are in its memory and holdout"
        raise InvalidInput(message, field="edits", value=[name for name in classes if name not in edited.classes])


def check_fit(spec: ModelSpec, module: Served) -> None:
    """Whether a recipe fits its network: the layers that it names, and the structure that its rules need."""
    spec.recipe.optimizer.trained(module)
    for rule in spec.recipe.rules:
        rule.check(module)


def with_recipe(spec: ModelSpec, classes: Sequence[int | str], recipe: Recipe, factories: Collection[str]) -> ModelSpec:
    """The spec with another recipe; or as it is, where that does not fit its network (it may name layers that it has not)."""
    changed = spec.changed(recipe=recipe)
    try:
        check_fit(changed, build(changed, classes, factories=factories, seed=0))
    except InvalidInput:
        return spec
    return changed


def without_search(recipe: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
    """Changes of a recipe without ``"learning_rate": "find"``, and whether that was there: it is asked of a retrain alone."""
    optimizer = recipe.get("optimizer")
    if not isinstance(optimizer, Mapping) or optimizer.get("learning_rate") != FIND:
        return dict(recipe), False
    rest = {name: value for name, value in optimizer.items() if name != "learning_rate"}
    return {**recipe, "optimizer": rest}, True


def named_versions(changes: Mapping[str, Any], edits: Sequence[dict[str, Any]] = ()) -> list[int]:
    """The kept versions whose weights a recipe and edits need; :class:`InvalidInput` where an edit does not parse."""
    pulled = changes.get("l2_sp")
    version = pulled.get("version") if isinstance(pulled, Mapping) else None
    needed = [number for edit in parse_edits(edits) for number in edit.needed_versions]
    return [*([version] if isinstance(version, int) else []), *needed]


def check_versions(changes: Mapping[str, Any], versions: Collection[int]) -> None:
    """:class:`InvalidInput` where changes name a version whose weights are not among ``versions``."""
    for version in named_versions(changes):
        if version not in versions:
            message = f"recipe.l2_sp.version: the weights of version {version} are not known here"
            raise InvalidInput(message, field="recipe.l2_sp.version", value=version)
