"""Where the parts of a label stand in a record."""

from __future__ import annotations

from typing import Any

import jmespath
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftline.sources.mapping import Place

NAMES = ["a", "b", "c"]
values = st.recursive(
    st.none() | st.booleans() | st.integers(0, 2) | st.sampled_from(["", "x"]) | st.just(0.0),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=3),
)
expressions = st.recursive(
    st.sampled_from([*NAMES, "a.b", "c.a.b", '"b"', "a[0]", "@", "length(a)", "{x: a}", "`1`", "a[].b"]),
    lambda inner: (
        st.tuples(inner, inner).map(lambda two: f"[{two[0]}, {two[1]}]")
        | st.tuples(inner, inner).map(lambda two: f"({two[0]}) || ({two[1]})")
        | st.tuples(st.sampled_from(NAMES), inner).map(lambda two: f"{two[0]}.[{two[1]}, a]")
    ),
)


@given(expression=expressions, record=st.dictionaries(st.sampled_from(NAMES), values))
def test_a_place_is_where_jmespath_finds_it(expression: str, record: dict[str, Any]) -> None:
    def wanted() -> Any:
        return record[expression] if expression in record else jmespath.search(expression, record)

    def found(look: Any) -> tuple[str, Any]:
        try:
            return "found", look()
        except Exception as error:
            return "refused", error is not None

    is_found, value = found(wanted)
    has_found, other = found(lambda: Place(expression)(record))
    assert (is_found, repr(value)) == (has_found, repr(other))


@pytest.mark.parametrize("name", ["a b", "a.", "[", "größe"])
def test_a_field_may_have_any_name(name: str) -> None:
    assert Place(name)({name: 1}) == 1
    assert Place(name)({}) is None
