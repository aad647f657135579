"""Changes of a recipe, and whether they fit."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypeAlias

from torch import Tensor

from driftline.errors import InvalidInput
from driftline.learning.training.optimizers import OptimizerFactory
from driftline.learning.training.weight_hooks import check_hooks
from driftline.networks.build import build, check_loss
from driftline.networks.served_model import ServedModel
from driftline.spec import ModelSpec, Recipe, parse

Versions: TypeAlias = Mapping[int, Mapping[str, Tensor]]
"""The weights of kept versions, by version and name."""
NO_VERSIONS: Versions = {}


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


def check_fit(spec: ModelSpec, module: ServedModel) -> None:
    """Whether a recipe fits its network: the layers that it names, and the structure that its weight hooks need."""
    OptimizerFactory(spec.recipe.optimizer).trained(module)
    check_hooks(spec.recipe, module)


def with_recipe(spec: ModelSpec, classes: Sequence[int | str], recipe: Recipe, factories: Collection[str]) -> ModelSpec:
    """The spec with another recipe; or as it is, where that does not fit its network (it may name layers that it has not)."""
    changed = spec.changed(recipe=recipe)
    try:
        check_fit(changed, build(changed, classes, factories=factories, seed=0))
    except InvalidInput:
        return spec
    return changed


def named_versions(changes: Mapping[str, Any]) -> list[int]:
    """The kept versions whose weights changes of a recipe need."""
    pulled = changes.get("l2_sp")
    version = pulled.get("version") if isinstance(pulled, Mapping) else None
    return [version] if isinstance(version, int) else []


def check_versions(changes: Mapping[str, Any], versions: Collection[int]) -> None:
    """:class:`InvalidInput` where changes name a version whose weights are not among ``versions``."""
    for version in named_versions(changes):
        if version not in versions:
            message = f"recipe.l2_sp.version: the weights of version {version} are not known here"
            raise InvalidInput(message, field="recipe.l2_sp.version", value=version)
