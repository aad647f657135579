"""Answers of a regression, in each of the forms that a spec can ask for."""

from __future__ import annotations

from typing import Any

import pytest

from tests.app.conftest import AppClient, create, predict

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("intervals", [None, [0.1, 0.9]])
@pytest.mark.parametrize(
    ("outputs", "shown"), [(None, float), (2, list), (["a", "b"], dict)], ids=["one", "two", "named"]
)
async def test_values_and_intervals_are_there_as_the_spec_asks(
    client: AppClient, rows: int, intervals: Any, outputs: Any, shown: type[Any]
) -> None:
    given = {name: value for name, value in (("outputs", outputs), ("intervals", intervals)) if value is not None}
    await create(client, task="regression", classes=None, **given)
    answers = (await predict(client, [[0.0] * 8] * rows))["predictions"]
    assert len(answers) == rows
    for answer in answers:
        value = answer["value"] if outputs is None else answer["values"]
        assert isinstance(value, shown) and (outputs is None or len(value) == 2)
        assert ("interval" in answer) == (intervals is not None)
        if intervals is not None:
            ends = answer["interval"]
            unknown = None if outputs is None else dict.fromkeys(outputs) if isinstance(outputs, list) else [None] * 2
            assert ends == unknown, "too few labels are known"
