"""The fast parser takes what the precise one takes, with the same numbers, and leaves all else to it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from app.json_rows import LONG_BYTES, BodyDecoder, count_bytes, flat_numbers
from driftline.errors import InvalidInput
from driftline.spec import ModelSpec, parse


def decoder(inputs: Any) -> BodyDecoder:
    return BodyDecoder(
        parse(ModelSpec, {"name": "m", "task": "classification", "inputs": inputs, "classes": ["a", "b"]})
    )


def test_the_fast_parser_is_installed() -> None:
    assert flat_numbers(b"[1.5]", "f", [1]) is not None


@settings(max_examples=60)
@given(st.data(), st.lists(st.integers(1, 3), max_size=3), st.integers(1, 3), st.sampled_from(["float32", "int64"]))
def test_both_parsers_give_the_same_numbers(data: st.DataObject, shape: list[int], rows: int, dtype: str) -> None:
    elements = st.floats(width=32, allow_nan=False, allow_infinity=False) if dtype == "float32" else None
    values = data.draw(arrays.arrays(dtype, (rows, *shape), elements=elements))
    body = json.dumps({"inputs": values.tolist()}).encode()
    bodies = decoder({"shape": shape, "dtype": dtype})
    fast, precise = bodies.decode_fast(body), bodies.decode_precisely(body)
    assert fast is not None
    for found in (fast.tensors["inputs"], precise.tensors["inputs"]):
        assert (found.dtype, found.shape) == (np.dtype(dtype), values.shape)
        np.testing.assert_array_equal(found, values)


def test_named_inputs_are_taken_fast() -> None:
    bodies = decoder({"user": {"shape": [], "dtype": "int64"}, "item": {"shape": [2]}})
    found = bodies.decode_fast(b'{"inputs": {"item": [[1, 2], [3, 4.5]], "user": [1, 2]}}')
    assert found is not None
    assert {name: array.tolist() for name, array in found.tensors.items()} == {
        "user": [1, 2],
        "item": [[1, 2], [3, 4.5]],
    }


@pytest.mark.parametrize(
    "body",
    [
        '{"inputs": [[1, [2]]]}',
        '{"inputs": [[[1], 2]]}',
        '{"inputs": [[1, 2, 3], [4]]}',
        '{"inputs": [[1], [2, 3, 4]]}',
        '{"inputs": [1, 2]}',
        '{"inputs": [[1, true]]}',
        '{"inputs": [[1, "["]]}',
        '{"inputs": [[1, null]]}',
        '{"inputs": [[1, 1e39]]}',
        '{"inputs": [[1, -1e39]]}',
        '{"inputs": [[1, 1e400]]}',
        '{"inputs": [[1, NaN]]}',
        '{"inputs": []}',
        '{"inputs": [[]]}',
        '{"inputs": {"a": [1, 2]}}',
        '{"inputs": [[1, 2]], "more": 1}',
        '{"input": [[1, 2]]}',
        '{"inputs": [[1, 2]]',
        '{"inputs": [[1, 2]]} x',
        "[[1, 2]]",
        "1",
        "",
        "\u0000",
    ],
)
def test_what_does_not_fit_is_refused_with_its_field(body: str) -> None:
    bodies = decoder({"shape": [2]})
    assert bodies.decode_fast(body.encode()) is None
    with pytest.raises(InvalidInput) as refused:
        bodies.decode(body.encode())
    assert refused.value.details["field"]


def test_after_any_error_the_next_body_is_taken_fast_again() -> None:
    bodies = decoder({"shape": [2]})
    for body in (b'{"inputs": [[1, "a"]]}', b'{"inputs": [[1, 2], [3]]}', b"{", b'{"inputs": 5}'):
        assert bodies.decode_fast(body) is None
        assert bodies.decode_fast(b'{"inputs": [[1, 2]]}') is not None


def test_an_integer_that_needs_more_than_64_bits_is_a_float_all_the_same() -> None:
    found = decoder({"shape": [1]}).decode(b'{"inputs": [[123456789012345678901234567890]]}')
    assert found.tensors["inputs"][0, 0] == np.float32(1.2345679e29)


@pytest.mark.parametrize("count", [1, 3, LONG_BYTES])
@pytest.mark.parametrize("form", [lambda n: [{}] * n, lambda n: {"a": [1] * n}, lambda n: [{"a": 1}] * n])
def test_a_body_that_has_too_many_rows_is_told_by_its_length_and_commas(form: Callable[[int], Any], count: int) -> None:
    bodies = decoder({"fields": {"a": "number"}})
    body = json.dumps({"inputs": form(count)}, separators=(",", ":")).encode()
    assert bodies.may_exceed(body, count - 1) and bodies.count(body) == count
    assert not bodies.may_exceed(body, len(body))
    assert count_bytes(body, b":") == body.count(b":")
