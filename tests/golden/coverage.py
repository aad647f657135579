"""What there is to choose from, by the schema of a model, and what of it the scenarios choose."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

Choices = dict[str, set[str]]
OF_LAYERS = {"layer", "branch"}
"""Fields that choose among the same layers as ``layers`` does."""
NOT_LEARNED = {"record", "trigger"}
"""Fields that a learner never reads."""


def offered(schema: Mapping[str, Any]) -> Choices:
    """Every name that a field of a JSON schema can have, but the one that it has by default, by the field's name."""
    found: Choices = defaultdict(set)
    for title, definition in {"Model": schema, **schema["$defs"]}.items():
        for field, shape in definition.get("properties", {}).items():
            # A part has one name, by which it is found already; only an optimizer has many.
            is_tag = field in ("name", "type")
            if field not in NOT_LEARNED and (not is_tag or "enum" in shape):
                found[title.lower() if is_tag else _field(field)] |= set(_names(shape)) - {str(shape.get("default"))}
    return {field: names for field, names in found.items() if names}


def _names(shape: Mapping[str, Any]) -> Iterator[str]:
    yield from shape.get("discriminator", {}).get("mapping", {})
    yield from (name for name in shape.get("enum", []) if isinstance(name, str))
    yield from [shape["const"]] if isinstance(shape.get("const"), str) else []
    for inner in [*shape.get("anyOf", []), *([shape["items"]] if "items" in shape else [])]:
        yield from _names(inner)


def fields(schema: Mapping[str, Any]) -> set[str]:
    """The fields of a recipe."""
    return set(schema["$defs"]["Recipe"]["properties"]) - NOT_LEARNED


def chosen(value: Any) -> tuple[Choices, set[str]]:
    """The names that plain data chooses, by field; and every field that it sets."""
    names: Choices = defaultdict(set)
    keys: set[str] = set()
    for field, one in _pairs(value):
        keys.add(field)
        names[_field(field)] |= set(_tags(one))
    return names, keys


def _pairs(value: Any) -> Iterator[tuple[str, Any]]:
    inner: Iterable[Any] = value if isinstance(value, list) else ()
    if isinstance(value, dict):
        yield from value.items()
        inner = value.values()
    for each in inner:
        yield from _pairs(each)


def _tags(value: Any) -> Iterator[str]:
    for one in value if isinstance(value, list) else [value]:
        if isinstance(one, str):
            yield one
        elif isinstance(one, dict):
            yield from (one[tag] for tag in ("name", "type") if isinstance(one.get(tag), str))


def _field(name: str) -> str:
    return "layers" if name in OF_LAYERS else name
