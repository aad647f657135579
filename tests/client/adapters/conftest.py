"""A real server for estimators; each makes models of its own there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.services import Instance, emptied


@pytest.fixture(scope="module")
def instance(shared_instance: Instance) -> Iterator[Instance]:
    with emptied(shared_instance) as instance:
        yield instance


@pytest.fixture(autouse=True)
def url(instance: Instance, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where estimators look when they are told no URL."""
    monkeypatch.setenv("DRIFTLINE_URL", instance.url)
    return instance.url
