"""Parts that are chosen by name: their parameters, and the classes that do what these say.

A part has two halves. Its *parameters* are a pydantic class with a tag field (``name``; layers and edits: ``type``) fixed by a
``Literal``: they are validated, documented and stored, and are read without torch. Its *behaviour* is a class that takes them,
in a file of its own. :class:`Registry` finds the first half, :class:`Behaviours` the second by the first.

An installed package adds parts by entry points: one of the group ``driftline.parts`` names a module that defines parameters,
one of the group ``driftline.behaviours`` a module that defines behaviours. A source of labels is one class, which an entry
point of the group ``driftline.sources`` names the module of.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from functools import cache, cached_property, reduce
from importlib.metadata import entry_points
from operator import or_
from typing import Annotated, Any, ClassVar, Generic, TypeVar, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter

from driftline.errors import ConfigurationError, InvalidInput

PARTS_GROUP = "driftline.parts"
BEHAVIOURS_GROUP = "driftline.behaviours"


def _describe_tag(schema: dict[str, Any]) -> None:
    """The field that names a part is the same in all of them, and says so."""
    for tag in ("name", "type"):
        field = schema.get("properties", {}).get(tag, {})
        if "const" in field:
            field.setdefault("description", "names what this is")


class Part(BaseModel):
    """Parameters of something that is chosen by name. Unknown fields and non-finite numbers are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, json_schema_extra=_describe_tag)


P = TypeVar("P", bound=Part)


class Registry(Generic[P]):
    """The parameters of all parts of one kind: what is below ``base``, in ``package`` and in what entry points name.

    >>> from driftline.spec.parts.losses import LOSSES
    >>> LOSSES.parse("cross_entropy").name
    'cross_entropy'
    """

    def __init__(
        self, base: type[P], package: str, tag: str = "name", default: str | None = None, group: str = PARTS_GROUP
    ) -> None:
        self.base = base
        self.package = package
        self.tag = tag
        self.default = default
        self.group = group

    @cached_property
    def parts(self) -> dict[str, type[P]]:
        """Every part by its name, in alphabetical order."""
        import_below(self.package)
        import_entry_points(self.group)
        return dict(sorted(self._tagged(self.base), key=lambda pair: pair[0]))

    def _tagged(self, base: type[P]) -> Iterator[tuple[str, type[P]]]:
        for child in base.__subclasses__():
            field = child.model_fields.get(self.tag)
            if field is not None and isinstance(field.default, str):
                yield field.default, child
            yield from self._tagged(child)

    def field(self) -> Any:
        """The type of a pydantic field that takes a part: its name, or an object with its name and parameters.

        Where the registry has a default, an object may leave the name out.
        """
        classes = tuple(self.parts.values())
        union: Any = reduce(or_, classes)
        if len(classes) > 1:
            union = Annotated[union, Field(discriminator=self.tag)]
        return Annotated[union, BeforeValidator(self._expand)]

    def _expand(self, value: Any) -> Any:
        if isinstance(value, dict) and self.default is not None:
            return {self.tag: self.default, **value}
        return {self.tag: value} if isinstance(value, str) else value

    @cached_property
    def _adapter(self) -> TypeAdapter[P]:
        return TypeAdapter(self.field())

    def parse(self, value: Any) -> P:
        """A part from its name or its JSON; :class:`pydantic.ValidationError` where it does not fit."""
        return self._adapter.validate_python(value)

    def get(self, name: str) -> type[P]:
        """The class that goes by ``name``; :class:`InvalidInput` where there is none."""
        if name not in self.parts:
            kind = self.base.__name__.lower()
            raise InvalidInput(
                f"there is no {kind} {name!r}; known: {', '.join(self.parts)}", field=self.tag, value=name
            )
        return self.parts[name]


class Behaviour(Generic[P]):
    """What a part does. A subclass says whose parameters it takes: ``class FocalLoss(LossFunction[Focal])``."""

    part: ClassVar[type[Part] | None] = None

    def __init__(self, parameters: P) -> None:
        self.parameters = parameters

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.part = next(
            (
                argument
                for base in getattr(cls, "__orig_bases__", ())
                if isinstance(get_origin(base), type) and issubclass(get_origin(base), Behaviour)
                for argument in get_args(base)
                if isinstance(argument, type) and issubclass(argument, Part)
            ),
            None,
        )


B = TypeVar("B", bound=Behaviour[Any])


class Behaviours(Generic[P, B]):
    """The behaviours of one kind: what is below ``base``, in ``package`` and in what entry points name."""

    def __init__(self, base: type[B], package: str) -> None:
        self.base = base
        self.package = package

    @cached_property
    def by_part(self) -> dict[type[Part], type[B]]:
        """The behaviour of each part, by the class of its parameters."""
        import_below(self.package)
        import_entry_points(BEHAVIOURS_GROUP)
        return {kind.part: kind for kind in _below(self.base) if kind.part is not None}

    def of(self, parameters: P) -> type[B]:
        """The behaviour of a part; :class:`LookupError` names one that has none."""
        found = self.by_part.get(type(parameters))
        if found is None:
            raise LookupError(f"nothing implements the part {type(parameters).__module__}.{type(parameters).__name__}")
        return found


K = TypeVar("K")


def _below(base: type[K]) -> Iterator[type[K]]:
    for child in base.__subclasses__():
        yield child
        yield from _below(child)


def import_below(package: str) -> None:
    """Imports a module, and where it is a package every module in it."""
    found = importlib.import_module(package)
    for module in pkgutil.iter_modules(getattr(found, "__path__", [])):
        importlib.import_module(f"{package}.{module.name}")


@cache
def import_entry_points(group: str) -> None:
    """Imports what the entry points of a group name; :class:`ConfigurationError` names one that cannot be."""
    for entry in entry_points(group=group):
        try:
            entry.load()
        except Exception as error:  # A package of a user's own may raise anything.
            message = f"the entry point {entry.name!r} of {group}, {entry.value}, cannot be loaded: {error}"
            raise ConfigurationError(message) from error
