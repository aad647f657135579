"""Requests of every role, right and broken by chance: none is a fault of the server, and each status is in the document."""

from __future__ import annotations

import random
import re
import secrets
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from app.gatekeeper import scopes_for
from app.main import create_app
from driftline.api.scopes import SCOPES
from driftline.settings import Settings
from tests.app.conftest import AppClient, create, patient
from tests.attacks.conftest import MODELS
from tests.attacks.generated import generated
from tests.attacks.mutation import SAMPLES, changed
from tests.attacks.test_mutated import quoted, status_of
from tests.services import spec

pytestmark = pytest.mark.anyio
FEW, MANY = 400, 100_000
URL = b"redis://10.0.0.5"
RENEWED = 2000
"""Now and then the models are made again that were deleted."""


@pytest.fixture(scope="module")
async def guarded(embedded: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[AppClient]:
    """A client of an app with keys, and with a model of each kind of input."""
    prefix = f"test-{secrets.token_hex(4)}:"
    settings = Settings(redis_url=embedded, prefix=prefix, data_dir=tmp_path_factory.mktemp("guarded"))
    app = create_app(settings, services=patient(settings))
    async with app.router.lifespan_context(app), AppClient(app) as client:
        for name, changes in MODELS.items():
            await create(client, name=name, **changes)
        yield client


def documented(client: AppClient) -> list[tuple[str, re.Pattern[str], set[int]]]:
    """The statuses that the document names for each call, those without a part in their path first."""
    paths: dict[str, dict[str, Any]] = client.app.openapi()["paths"]
    return [
        (method.upper(), re.compile(re.sub(r"\\{[^}]+\\}", "[^/]+", re.escape(path))), {*map(int, call["responses"])})
        for path, calls in sorted(paths.items(), key=lambda each: each[0].count("{"))
        for method, call in calls.items()
    ]


async def _renew(client: AppClient, admin: dict[str, str]) -> None:
    for name, changes in MODELS.items():
        answer = await client.post("/v1/models", json=spec(**changes, name=name), headers=admin)
        assert answer.status_code in (201, 409), answer.text


async def attack(client: AppClient, count: int, seed: int) -> tuple[Counter[tuple[str, int]], set[str]]:
    """How often each role was answered each status, and what was answered that no document names."""
    chance, known = random.Random(seed), documented(client)
    keys = client.services.keys
    headers: dict[str, dict[str, str]] = {"nobody": {}}
    headers |= {role: {"authorization": f"Bearer {keys.create([role])}"} for role in SCOPES}
    found, unknown = Counter[tuple[str, int]](), set[str]()
    for number in range(count):
        role = chance.choice([*headers])
        sample = chance.choice(SAMPLES) if chance.random() < 0.5 else generated(chance)
        if URL in sample.body:
            # A source is tried where it says that it is: of all hosts that may only be our own.
            sample = replace(sample, body=sample.body.replace(URL, str(client.services.settings.redis_url).encode()))
        elif chance.random() < 0.7:
            sample = changed(chance, sample)
        client.headers.pop("authorization", None)
        client.headers.update(headers[role])
        if number % RENEWED == 0:
            print(f"{number} requests", flush=True)
            await _renew(client, headers["admin"])
        status = await status_of(client, sample, f"{number} of seed {seed}, {role}")
        if status is None:
            continue
        found[role, status] += 1
        path = httpx.URL(quoted(sample.path)).path
        assert role != "nobody" or status == 401 or not scopes_for(sample.method, path), sample
        named = next(
            (each for method, pattern, each in known if method == sample.method and pattern.fullmatch(path)), None
        )
        if named is not None and status not in named:
            unknown.add(f"{sample.method} {sample.path} of {role}: {status}, {sample.body[:300]!r}")
    return found, unknown


async def test_each_role_is_answered_what_the_document_says(guarded: AppClient) -> None:
    found, unknown = await attack(guarded, FEW, seed=3)
    assert not unknown
    assert 401 in {status for role, status in found if role == "nobody"}
    assert {200, 202, 422} <= {status for role, status in found if role == "admin"}
    assert 403 in {status for role, status in found if role == "predict"}


@pytest.mark.long
async def test_a_hundred_thousand_requests_of_all_roles(guarded: AppClient) -> None:
    found, unknown = await attack(guarded, MANY, seed=4)
    print(sorted(found.items()), len(found))
    assert not unknown
