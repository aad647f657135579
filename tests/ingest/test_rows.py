"""JSON becomes typed rows, or an error that names the place."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from driftline.errors import InvalidInput
from driftline.ingest import rows as inputs
from driftline.spec import ModelSpec, parse


def spec_of(tensors: Any) -> ModelSpec:
    return parse(ModelSpec, {"name": "m", "task": "classification", "inputs": tensors, "classes": ["a", "b"]})


def decode(spec: ModelSpec, text: str) -> dict[str, NDArray[Any]]:
    value = msgspec.json.decode(text, type=inputs.json_type(spec, batched=True))
    return inputs.RowReader(spec).batch(value).tensors


def test_rows_of_any_rank_become_float32() -> None:
    rows = decode(spec_of({"shape": [2, 3]}), "[[[1, 2, 3], [4, 5, 6.5]]]")
    assert rows["inputs"].dtype == np.float32
    assert rows["inputs"].tolist() == [[[1, 2, 3], [4, 5, 6.5]]]
    assert decode(spec_of({"shape": []}), "[1, 2]")["inputs"].tolist() == [1, 2]


def test_named_inputs_are_columns() -> None:
    spec = spec_of({"user": {"shape": [], "dtype": "int64"}, "item": {"shape": [2]}})
    rows = decode(spec, '{"user": [1, 2], "item": [[1, 2], [3, 4]]}')
    assert rows["user"].dtype == np.int64
    with pytest.raises(InvalidInput, match="different length"):
        decode(spec, '{"user": [1], "item": [[1, 2], [3, 4]]}')
    with pytest.raises(msgspec.ValidationError):
        decode(spec, '{"user": [1]}')


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("[[1, 2, 3], [1, 2]]", "inputs[1]"),
        ("[[1, 2, 3], [1, 2, 1e39]]", "inputs[1][2]"),
        ("[[1, 2, 3], []]", "inputs[1]"),
        ("[]", "inputs"),
    ],
)
def test_what_does_not_fit_is_named(text: str, field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        decode(spec_of({"shape": [3]}), text)
    assert refused.value.details["field"] == field


@pytest.mark.parametrize("text", ["[[1, true, 3]]", '[["1", 2, 3]]', "[[null, 2, 3]]", "[1, 2, 3]"])
def test_only_numbers_are_numbers(text: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        decode(spec_of({"shape": [3]}), text)


def test_a_row_keeps_its_bits() -> None:
    spec = spec_of({"shape": [2]})
    value = msgspec.json.decode("[0.1, 3e38]", type=inputs.json_type(spec, batched=False))
    assert np.frombuffer(inputs.RowReader(spec).row(value).item(0)["inputs"], np.float32).tolist() == [
        np.float32(0.1),
        np.float32(3e38),
    ]
