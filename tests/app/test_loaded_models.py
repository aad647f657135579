"""Loaded models take no more memory than the setting says: the one asked the longest ago goes, and comes when it is asked."""

from __future__ import annotations

import itertools

import pytest

from app import version_loader
from app.loaded_models import OWN_BYTES, LoadedModels
from tests.app.conftest import AppClient, Start, create, predict

pytestmark = pytest.mark.anyio
NAMES = ("a", "b", "c", "d")
ROWS = [[0.5] * 8]


async def filled(start: Start, max_bytes: int, idle_seconds: float) -> AppClient:
    """An app with four models, each of which was asked once, in order."""
    client = await start(model_bytes=max_bytes)
    client.services.version_watcher.loaded_models.idle_seconds = idle_seconds
    for name in NAMES:
        await create(client, name=name, recipe={"strategy": "replay"})
        await predict(client, ROWS, name)
    return client


def loaded(client: AppClient) -> list[str]:
    return [name for name in NAMES if client.services.version_watcher.loaded(name) is not None]


async def test_the_models_asked_longest_ago_are_unloaded_and_answer_the_same_when_they_come_back(start: Start) -> None:
    client = await filled(start, 3 * OWN_BYTES, idle_seconds=0.0)
    assert loaded(client) == ["c", "d"], "each takes a little more than its own bytes"
    first = await predict(client, ROWS, "c")
    await predict(client, ROWS, "a")
    assert (
        loaded(client) == ["a", "c"]
        and (await predict(client, ROWS, "c"))["predictions"][0]["probabilities"]
        == (first["predictions"][0]["probabilities"])
    )
    watched = client.services.version_watcher.loaded_models
    assert 2 * OWN_BYTES < watched.bytes <= 3 * OWN_BYTES
    again = LoadedModels(client.services.engine, max_bytes=10**9)
    for uid in client.services.engine.models:
        again.changed(uid)
    assert watched.bytes == again.bytes
    for uid in list(client.services.engine.models):
        client.services.version_watcher.forget(uid)
    assert watched.bytes == 0


async def test_models_in_use_stay_whatever_they_take(start: Start) -> None:
    client = await filled(start, 1, idle_seconds=3600.0)
    assert loaded(client) == list(NAMES)


async def test_what_models_share_is_counted_once(start: Start) -> None:
    client = await start(model_bytes=10**9)
    layers = [{"type": "linear", "features": 800}, {"type": "relu"}]
    await create(client, name="bert", network={"layers": layers}, recipe={"strategy": "replay"})
    for name in NAMES:
        made = await client.post("/v1/models", json={"name": name, "network": {"base": "bert", "adapter": {"rank": 1}}})
        assert made.status_code == 201, made.text
    watched, sizes = client.services.version_watcher.loaded_models, list[int]()
    for name in NAMES:
        await predict(client, ROWS, name)
        sizes.append(watched.bytes)
    base = 4 * 8 * 800
    assert sizes[0] > base + OWN_BYTES and all(
        later - before < base + OWN_BYTES for before, later in itertools.pairwise(sizes)
    )


async def test_while_kernels_are_compiled_a_call_is_told_how_far_that_is(
    weather: AppClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as compiling:
        compiling.setattr(version_loader, "compilation", lambda: "kernels are compiled: 1 of 2 are ready")
        answer = await weather.post("/v1/models/weather/predict", json={"inputs": [[0.0] * 8]})
        error = answer.json()["error"]
        assert answer.status_code == 503 and answer.headers["Retry-After"] == "1"
        assert error == {"code": "not_ready", "message": "kernels are compiled: 1 of 2 are ready"}
    assert (await predict(weather, [[0.0] * 8]))["predictions"]
