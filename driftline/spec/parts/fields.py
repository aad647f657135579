"""The fields of a row: what each of its named values is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import Field, StrictInt

from driftline.spec.parse import Frozen
from driftline.spec.registry import Part, Registry


class RowField(Part):
    """One named value of a row. ``aliases`` are other names under which it may come, such as the one it had before."""

    type: str = Field(description="names what this is")
    aliases: list[str] = Field([], max_length=20, description="other names under which it may come")
    dropped: bool = Field(False, description="whether it is no longer read: every row is as if it were missing")
    is_read: ClassVar[bool] = True


FIELDS = Registry(RowField, __name__, tag="type")


class NumberField(RowField):
    """A quantity: a JSON number."""

    type: Literal["number"] = "number"


class BooleanField(RowField):
    """``true`` or ``false``."""

    type: Literal["boolean"] = "boolean"


class CategoryField(RowField):
    """One of some values, which may grow: a string, an integer or a boolean. ``1`` and ``"1"`` are the same value."""

    type: Literal["category"] = "category"
    embedding: int = Field(
        8, ge=0, le=1024, description="numbers of the trained vector that a network gets for a value"
    )


class TimeField(RowField):
    """A moment: ISO 8601, or seconds (or ``unit``) since 1970. One without a time zone is in UTC."""

    type: Literal["time"] = "time"
    format: str | None = Field(
        None, max_length=100, description="how a string is read, as `strptime` has it; else ISO 8601"
    )
    unit: Literal["auto", "s", "ms", "us", "ns"] = Field(
        "auto", description="of a number since 1970; `auto`: what its size says"
    )


class TextField(RowField):
    """Words in any language."""

    type: Literal["text"] = "text"
    embedding: int = Field(
        16, ge=0, le=1024, description="numbers of the trained vector that a network gets for a text"
    )


class TensorField(RowField):
    """Numbers of a fixed shape, such as an image, as nested lists."""

    type: Literal["tensor"] = "tensor"
    shape: list[Annotated[StrictInt, Field(ge=1)]] = Field(max_length=6, description="the shape of one row")
    dtype: Literal["float32"] = Field("float32", description="the type of its numbers")


class IgnoredField(RowField):
    """What may stand in a row and says nothing."""

    type: Literal["ignore"] = "ignore"
    is_read: ClassVar[bool] = False


if TYPE_CHECKING:
    AnyField: TypeAlias = RowField
else:
    AnyField = FIELDS.field()

FieldName = Annotated[str, Field(min_length=1, max_length=200)]


class FieldsSpec(Frozen):
    """Rows of named fields. A field that is null or absent is missing, which is a value of its own.

    ``unknown`` says what happens to a field that no name here stands for: it is left out and counted, or the row is refused.
    """

    fields: dict[FieldName, AnyField] = Field(
        min_length=1,
        max_length=10_000,
        description="the fields of a row by name: a type, or an object with its options",
    )
    unknown: Literal["count", "refuse"] = Field("count", description="what happens to a field that has no name here")
    statistics: int = Field(
        1,
        ge=1,
        le=64,
        description="features that say how the target was with a category or a word; by default as many as "
        "there are classes but one, 8 at most",
    )

    marks: int = Field(
        8,
        ge=0,
        le=256,
        description="values of each category that have a feature of their own; by default as many as 64 "
        "features are enough for, 2 to 8",
    )

    def model_post_init(self, context: Any) -> None:
        """Refuses what no row could be read by."""
        if not any(field.is_read and not field.dropped for field in self.fields.values()):
            raise ValueError("there is no field to learn from")
        names = [*self.fields, *(alias for field in self.fields.values() for alias in field.aliases)]
        for name in set(names):
            if names.count(name) > 1:
                raise ValueError(f"two fields go by the name {name!r}")

    @property
    def read(self) -> dict[str, RowField]:
        """The fields that are part of what is learned, also those that no longer come, by name."""
        return {name: field for name, field in self.fields.items() if field.is_read}
