"""Tensors as inputs: what a row of one consists of."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field, StrictInt, model_validator

from driftline.spec.parse import Frozen

MAX_LENGTH = 512
"""How long a row of any length may be, where its spec does not say."""
MAX_NUMBERS = 2**31
"""Of one row: beyond it sizes are none that a tensor can have."""
MASK = "mask"
FILE_PATTERN = r"^[\w-][\w.-]*(/[\w-][\w.-]*)*$"
BFLOAT16 = "bfloat16"
NumberType = Literal["float32", "float16", "bfloat16", "int64", "int32", "uint8"]


class TensorSpec(Frozen):
    """One input tensor: the shape of a row, without the batch.

    ``[null]``, or a shape that begins with null, is a sequence of any length up to ``max_length``: rows are filled up with
    zeros, and the network is told by ``mask`` where. With a ``tokenizer`` a row may be a text.
    """

    shape: list[Annotated[StrictInt, Field(ge=1)] | None] = Field(
        max_length=6, description="the shape of one row; null in the first place: a sequence of any length"
    )
    dtype: NumberType = Field("float32", description="the type of its numbers")
    max_length: Annotated[StrictInt, Field(ge=1, le=65_536)] | None = Field(
        None,
        exclude_if=lambda value: value is None,
        description="of a sequence: the longest that is taken; by default 512",
    )
    mask: str | None = Field(
        None,
        pattern=r"^[a-zA-Z_][a-zA-Z0-9_]{0,63}$",
        exclude_if=lambda value: value is None,
        description="of a sequence: the argument by which the network is told where it is filled up; by default `mask`",
    )
    tokenizer: str | None = Field(
        None,
        pattern=FILE_PATTERN,
        max_length=200,
        exclude_if=lambda value: value is None,
        description="of a sequence: a file of the tokenizers library, which makes token ids of a text",
    )

    @model_validator(mode="after")
    def _is_a_sequence_where_it_says_so(self) -> TensorSpec:
        if None in self.shape[1:]:
            raise ValueError('only the first size of "shape" may be null')
        if not self.is_sequence:
            given = [name for name in ("max_length", "mask", "tokenizer") if getattr(self, name) is not None]
            if given:
                raise ValueError(f'"{given[0]}" belongs to a sequence, whose "shape" begins with null')
        if self.tokenizer is not None and (len(self.shape) > 1 or self.dtype not in ("int32", "int64")):
            raise ValueError('a "tokenizer" makes rows of the shape [null] and of the dtype int64 or int32')
        return self

    @model_validator(mode="after")
    def _has_a_size(self) -> TensorSpec:
        if self.size > MAX_NUMBERS:
            raise ValueError(f"a row of this shape has {self.size} numbers, and {MAX_NUMBERS} is the most")
        return self

    @property
    def is_sequence(self) -> bool:
        """Whether rows have any length."""
        return bool(self.shape) and self.shape[0] is None

    @property
    def padded_shape(self) -> list[int]:
        """The shape of a row, a sequence filled up."""
        return [(self.max_length or MAX_LENGTH) if size is None else size for size in self.shape]

    @property
    def mask_name(self) -> str:
        """By which name a network is told where a sequence is filled up."""
        return self.mask or MASK

    @property
    def size(self) -> int:
        """Numbers in one row."""
        return math.prod(self.padded_shape)


def length_name(name: str) -> str:
    """What the lengths of the rows of an input are called; no input has such a name."""
    return f"{name} length"
