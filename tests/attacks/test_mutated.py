"""Any bytes on any route are answered, and never by a fault of the server; one broken item of many costs no other."""

from __future__ import annotations

import random
from urllib.parse import quote

import httpx
import pytest

from tests.app.conftest import AppClient
from tests.attacks.mutation import NDJSON, Sample, broken_value, request_of

pytestmark = pytest.mark.anyio

FEW, MANY = 1500, 100_000


def quoted(path: str) -> str:
    """What a client cannot write into a URL at all is percent-encoded, as it would have to be."""
    return quote(path, safe="/?&=%#", encoding="latin-1")


async def send(client: AppClient, sample: Sample) -> httpx.Response:
    path = quoted(sample.path)
    return await client.request(
        sample.method, path, content=sample.body, headers={"content-type": sample.kind}, follow_redirects=False
    )


async def status_of(client: AppClient, sample: Sample, where: str) -> int | None:
    """The status that is answered, which is no fault of the server; None for what no client can send."""
    try:
        status = (await send(client, sample)).status_code
    except httpx.InvalidURL:
        return None
    except Exception as error:
        raise AssertionError(f"{where}: {sample!r}") from error
    assert status < 500, f"{where}: {sample!r}"
    return status


async def attack(client: AppClient, count: int, seed: int) -> dict[int, int]:
    """How often each status was answered to so many requests."""
    chance, found = random.Random(seed), dict[int, int]()
    for number in range(count):
        status = await status_of(client, request_of(chance), f"{number} of seed {seed}")
        if status is None:
            continue
        found[status] = found.get(status, 0) + 1
    return found


async def test_mutated_requests_are_answered(attacked: AppClient) -> None:
    found = await attack(attacked, FEW, seed=1)
    assert {200, 202, 404, 422} <= found.keys()


@pytest.mark.long
async def test_a_hundred_thousand_mutated_requests_are_answered(attacked: AppClient) -> None:
    print(await attack(attacked, MANY, seed=2))


async def one_broken_item_of_many(client: AppClient, count: int, seed: int) -> None:
    chance = random.Random(seed)
    for number in range(count):
        size, name = chance.randint(1, 8), f"{seed}-{number}"
        good = [b'{"inputs": [1, 2], "label": 1, "id": "%b-%d"}' % (name.encode(), each) for each in range(size)]
        field = chance.choice(
            (b"inputs", b"label", b"id", b"weight", b"time", b"x", b"prediction_id", b"source", b"delay")
        )
        rest = b'"inputs": [1, 2], "label": 1, ' if chance.random() < 0.5 else b""
        broken = b'{%b"%b": %b}' % (rest, field, broken_value(chance))
        place = chance.randint(0, size)
        items = [*good[:place], broken, *good[place:]]
        is_stream = chance.random() < 0.3
        body = b"\n".join(items) if is_stream else b'{"items": [' + b",".join(items) + b"]}"
        path = "/v1/models/open/feedback" + ("/stream" if is_stream else "")
        sample = Sample("POST", path, body, NDJSON if is_stream else "application/json")
        answer = await send(client, sample)
        assert answer.status_code == (200 if is_stream else 202), sample
        assert answer.text.count('"status":"queued"') == size, sample
        assert answer.text.count('"status":"error"') == 1, sample


async def test_of_n_items_of_which_one_is_broken_all_others_are_taken(attacked: AppClient) -> None:
    await one_broken_item_of_many(attacked, 300, seed=3)


@pytest.mark.long
async def test_of_n_items_of_which_one_is_broken_all_others_are_taken_always(attacked: AppClient) -> None:
    await one_broken_item_of_many(attacked, 20_000, seed=4)
