"""Moments are read alike, one by one and all at once."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from driftline.rows import times

NUMBERS = st.floats(-1e21, 1e21) | st.sampled_from([0.0, 1e11, -1e11, 1e14, 1e17, 99999999999.0])


@given(values=st.lists(NUMBERS, max_size=8), unit=st.sampled_from(["auto", *times.UNITS]))
def test_numbers_are_read_together_as_each_alone(values: list[float], unit: str) -> None:
    found = times.from_numbers(np.array(values, np.float64), unit)
    assert found.tolist() == [times.from_number(value, unit) for value in values]
