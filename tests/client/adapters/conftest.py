"""A real server that the estimators of this folder share; each makes models of its own there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.services import Instance, up


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    with up(tmp_path_factory.mktemp("up")) as instance:
        yield instance


@pytest.fixture(autouse=True)
def url(instance: Instance, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where estimators look when they are told no URL."""
    monkeypatch.setenv("DRIFTLINE_URL", instance.url)
    return instance.url
