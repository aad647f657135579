"""Rows of any length as they are sent: lists of numbers, or texts that a tokenizer makes numbers of."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from driftline.errors import InvalidInput
from driftline.rows.number_types import as_type, is_whole
from driftline.rows.sequences import Arrays, padded
from driftline.spec import TensorSpec


def sequences(name: str, tensor: TensorSpec, values: Sequence[Any], path: str, names: Sequence[str]) -> Arrays:
    """The rows of an input and their lengths; :class:`InvalidInput` names the row that does not fit.

    Args:
        path: where the input stands in what was sent.
        names: where each row stands below it.
    """
    texts = [value for value in values if isinstance(value, str)]
    tokens = iter(_tokens(tensor, texts, path)) if texts else iter(())
    return padded(
        name,
        tensor,
        [
            next(tokens) if isinstance(value, str) else _row(tensor, value, path + below)
            for value, below in zip(values, names, strict=True)
        ],
    )


def check_tokenizer(tensor: TensorSpec, path: str) -> None:
    """:class:`InvalidInput` where the tokenizer of an input cannot be had."""
    if tensor.tokenizer is not None:
        _tokenizer(tensor.tokenizer, tensor.padded_shape[0], path)


def _row(tensor: TensorSpec, value: Any, path: str) -> NDArray[Any]:
    wanted = [None, *tensor.shape[1:]]
    kind: type[np.int64 | np.float64] = np.int64 if is_whole(tensor.dtype) else np.float64
    try:
        found = np.array(value)
        are_numbers = found.dtype.kind in ("iu" if kind is np.int64 else "iuf") or not found.size
    except (ValueError, OverflowError):
        found, are_numbers = np.empty(0), False
    if not are_numbers or not isinstance(value, list) or (value and list(found.shape[1:]) != wanted[1:]):
        what = " or a text" if tensor.tokenizer is not None else ""
        message = f"{path}: a list of numbers of the shape {wanted} and dtype {tensor.dtype}{what} is expected"
        raise InvalidInput(message.replace("None", "null"), code="wrong_shape", field=path, expected=wanted)
    if not 0 < len(value) <= tensor.padded_shape[0]:
        message = f"{path}: a row of {len(value)}, where 1 to {tensor.padded_shape[0]} are taken"
        raise InvalidInput(message, code="wrong_length", field=path, value=len(value))
    return as_type(found.astype(kind), tensor.dtype, path)


def _tokens(tensor: TensorSpec, texts: Sequence[str], path: str) -> list[NDArray[Any]]:
    if tensor.tokenizer is None:
        message = f"{path}: {texts[0][:50]!r} is a text, and the input has no tokenizer that makes numbers of it"
        raise InvalidInput(message, field=path, value=texts[0][:100])
    encoded = _tokenizer(tensor.tokenizer, tensor.padded_shape[0], path).encode_batch(list(texts))
    empty = next((text for text, row in zip(texts, encoded, strict=True) if not row.ids), None)
    if empty is not None:
        raise InvalidInput(f"{path}: {empty[:50]!r} has no token", code="wrong_length", field=path, value=empty[:100])
    return [np.array(row.ids, tensor.dtype) for row in encoded]


@lru_cache(maxsize=64)
def _tokenizer(file: str, max_length: int, path: str) -> Any:
    """A tokenizer that cuts texts at a length. Its file is looked for where the process runs, as modules are."""
    where = f"{path}.tokenizer"
    try:
        from tokenizers import Tokenizer
    except ImportError:
        message = f"{where}: texts need the tokenizers library: pip install driftline[text]"
        raise InvalidInput(message, field=where, value=file) from None
    try:
        found = Tokenizer.from_file(file)
    except Exception as error:
        message = f"{where}: {file!r} is no file of the tokenizers library here: {error}"
        raise InvalidInput(message, field=where, value=file) from None
    found.no_padding()
    found.enable_truncation(max_length)
    return found
