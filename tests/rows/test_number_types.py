"""Every type of numbers keeps what fits it, to the bit, and names what does not."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from driftline.errors import InvalidInput
from driftline.rows.number_types import array_type, as_numbers, as_type

FLOATS = st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32), min_size=1, max_size=20)


@given(FLOATS)
def test_bfloat16_is_rounded_as_torch_rounds_it(numbers: list[float]) -> None:
    wanted = torch.tensor(numbers, dtype=torch.float32).to(torch.bfloat16)
    if not bool(wanted.isfinite().all()):
        with pytest.raises(InvalidInput, match="is not a finite bfloat16"):
            as_type(np.array(numbers), "bfloat16", "inputs")
        return
    found = as_type(np.array(numbers), "bfloat16", "inputs")
    assert torch.equal(torch.from_numpy(found).view(torch.bfloat16), wanted)
    assert as_numbers(found, "bfloat16").tolist() == wanted.tolist()


@given(st.sampled_from(["uint8", "int32", "int64"]), st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1))
def test_whole_numbers_stay_or_are_named(dtype: str, numbers: list[int]) -> None:
    limits, wide = np.iinfo(dtype), np.array(numbers, np.int64)
    misfits = [place for place, number in enumerate(numbers) if not limits.min <= number <= limits.max]
    if misfits:
        with pytest.raises(InvalidInput) as refused:
            as_type(wide, dtype, "inputs.x")
        assert refused.value.details["field"] == f"inputs.x[{misfits[0]}]"
    else:
        found = as_type(wide, dtype, "inputs.x")
        assert (found.dtype, found.tolist()) == (np.dtype(dtype), numbers)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, 1e6])
def test_what_is_not_finite_in_16_bits_is_named(number: float) -> None:
    with pytest.raises(InvalidInput, match=r"inputs\[1\]\[0\]: .* is not a finite float16"):
        as_type(np.array([[1.0], [number]]), "float16", "inputs")


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "int64", "int32", "uint8"])
def test_an_array_has_the_size_that_torch_gives_it(dtype: str) -> None:
    assert array_type(dtype).itemsize == torch.zeros(1, dtype=getattr(torch, dtype)).element_size()
