"""Events are sent to addresses of the operator's: signed, in order, until they are taken, and nowhere else."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook

from app.webhooks import WebhookSender, WebhookTarget, parse_webhooks
from driftline.errors import ConfigurationError
from driftline.support.tasks import end
from tests.app.conftest import AppClient, create
from tests.app.test_events import pause
from tests.scripted_server import ScriptedServer, scripted_server
from tests.waiting import until_async

pytestmark = pytest.mark.anyio

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with scripted_server() as server:
        yield server


@contextlib.asynccontextmanager
async def sending(client: AppClient, url: str, **options: Any) -> AsyncIterator[WebhookSender]:
    """A process that sends what happens to ``url``."""
    services, kinds = client.services, options.pop("kinds", [])
    target = WebhookTarget(url=f"{url}/hook?team=7", secret=SECRET, kinds=kinds)
    options = {"is_private_allowed": True, "first_pause": 0.01, "last_pause": 0.02, "claim_ms": 60} | options
    sender = WebhookSender(target, services.connection, services.events, **options)
    running = asyncio.create_task(sender.run())
    try:
        yield sender
    finally:
        await end(running)


async def begun(client: AppClient, sender: WebhookSender) -> None:
    """Waits until what happens from now on is sent."""

    async def is_held() -> bool:
        return bool(client.services.events._waiting.get(None))

    await until_async(is_held)


def kinds(server: ScriptedServer) -> list[str]:
    """What was sent, each event once however often it was tried."""
    found = {request.headers["webhook-id"]: json.loads(request.body)["type"] for request in server.requests}
    return list(found.values())


async def test_an_event_is_sent_and_the_receiver_can_verify_it(client: AppClient, server: ScriptedServer) -> None:
    async with sending(client, server.url) as sender:
        await begun(client, sender)
        await create(client)
        await until_async(lambda: server.requests)
    request = server.requests[0]
    assert (request.method, request.path) == ("POST", "/hook?team=7")
    body = Webhook(SECRET).verify(request.body, request.headers)
    assert body["type"] == "driftline.created" and body["data"]["model"] == "weather"
    assert request.headers["webhook-id"] == body["data"]["id"]
    with pytest.raises(Exception, match="No matching signature"):
        Webhook(SECRET).verify(request.body.replace(b"weather", b"whether"), request.headers)


async def test_what_is_not_taken_is_sent_again_and_what_follows_waits(
    client: AppClient, server: ScriptedServer
) -> None:
    async with sending(client, server.url) as sender:
        await begun(client, sender)
        server.answers = [(500, {}), (429, {}), (302, {})]
        await create(client)
        await pause(client, 2)
        await until_async(lambda: len(kinds(server)) == 3)
    assert kinds(server) == ["driftline.created", "driftline.pause", "driftline.resume"]
    assert len(server.requests) == 6, "three answers said that it was not taken"


async def test_another_process_goes_on_where_one_has_ended(client: AppClient, server: ScriptedServer) -> None:
    async with sending(client, server.url) as sender:
        await begun(client, sender)
        await create(client)
        await until_async(lambda: len(kinds(server)) == 1)
    await pause(client, 2)
    async with sending(client, server.url):
        await until_async(lambda: len(kinds(server)) == 3)
    assert kinds(server) == ["driftline.created", "driftline.pause", "driftline.resume"]


async def test_of_several_processes_one_sends(client: AppClient, server: ScriptedServer) -> None:
    async with sending(client, server.url, claim_ms=60_000) as one, sending(client, server.url, claim_ms=60_000):
        await begun(client, one)
        await create(client)
        await pause(client, 3)
        await until_async(lambda: len(kinds(server)) == 4)
    assert len(server.requests) == 4


async def test_a_target_gets_the_kinds_that_it_wants(client: AppClient, server: ScriptedServer) -> None:
    async with sending(client, server.url, kinds=["resume"]) as sender:
        await begun(client, sender)
        await create(client)
        await pause(client, 2)
        await until_async(lambda: server.requests)
    assert kinds(server) == ["driftline.resume"]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
async def test_nothing_is_sent_to_a_private_address(
    client: AppClient, server: ScriptedServer, host: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR, "driftline.webhooks")
    url = server.url.replace("127.0.0.1", host)
    async with sending(client, url, is_private_allowed=False, give_up_seconds=0.0) as sender:
        await begun(client, sender)
        await create(client)
        await until_async(lambda: "is left out" in caplog.text)
    assert "DRIFTLINE_WEBHOOK_PRIVATE" in caplog.text and not server.requests


def test_the_targets_of_the_settings_are_read() -> None:
    (target,) = parse_webhooks(json.dumps([{"url": "https://example.org/x", "secret": SECRET, "kinds": ["alarm"]}]))
    assert (target.url, target.kinds, target.models) == ("https://example.org/x", ["alarm"], [])
    assert parse_webhooks("[]") == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{}", "not a JSON list"),
        ("[", "DRIFTLINE_WEBHOOKS"),
        (json.dumps([{"url": "ftp://x", "secret": SECRET}]), "url"),
        ('[{"url": "https://x", "secret": "whsec_tooshort"}]', "secret"),
        (json.dumps([{"url": "https://x", "secret": SECRET, "kinds": ["alarms"]}]), "alarms"),
        (json.dumps([{"url": "https://x", "secret": SECRET, "extra": 1}]), "extra"),
        ("@/no/such/file", "/no/such/file"),
    ],
)
def test_a_wrong_target_is_refused_and_no_secret_is_told(text: str, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told) as caught:
        parse_webhooks(text)
    assert "whsec_M" not in str(caught.value) and "tooshort" not in str(caught.value)
