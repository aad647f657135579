"""Finds parts by name: a new strategy, loss, layer, detector or edit is one new file in its package.

A part is a pydantic class with a tag field (``name``; layers and edits: ``type``) fixed by a ``Literal``. Its other fields are
its parameters, so they are validated, documented and stored in one place. A part's module imports torch only inside its
functions: the command line and the client read a spec without loading torch.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from functools import cached_property, reduce
from operator import or_
from typing import Annotated, Any, Generic, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter

from driftline.errors import InvalidInput


class Part(BaseModel):
    """Parameters of something that is chosen by name. Unknown fields and non-finite numbers are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


P = TypeVar("P", bound=Part)


class Registry(Generic[P]):
    """All parts below ``base`` that the modules of ``package`` define.

    >>> from driftline.learning.training.losses import LOSSES
    >>> LOSSES.parse("cross_entropy").name
    'cross_entropy'
    """

    def __init__(self, base: type[P], package: str, tag: str = "name", default: str | None = None) -> None:
        self.base = base
        self.package = package
        self.tag = tag
        self.default = default

    @cached_property
    def parts(self) -> dict[str, type[P]]:
        """Every part by its name, in alphabetical order."""
        package = importlib.import_module(self.package)
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{self.package}.{module.name}")
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
