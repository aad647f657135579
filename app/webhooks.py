"""Events, sent to addresses of the operator's: signed, in order, and again until they are taken (Standard Webhooks)."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import ipaddress
import json
import logging
import secrets
import socket
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from standardwebhooks.webhooks import Webhook

from driftline.api.events import KINDS, Event
from driftline.errors import ConfigurationError, Unavailable
from driftline.store.connection import RedisConnection, store_errors
from driftline.store.events import INSTANCE, EventPlace, StoredEvent, parse_cursor

from .event_feed import EventFeed, shown

logger = logging.getLogger("driftline.webhooks")

MIN_SECRET, MAX_SECRET = 24, 64
CLAIM_MS = 30_000
MAX_REMEMBERED = 20_000


class WebhookTarget(BaseModel):
    """Where events go: of all kinds and models, or of the named ones. ``secret`` is ``whsec_`` and base64."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str = Field(pattern=r"^https?://[^/?#]+")
    secret: str
    kinds: list[str] = []
    models: list[str] = []

    @field_validator("secret")
    @classmethod
    def _check_secret(cls, secret: str) -> str:
        prefix, _, rest = secret.rpartition("_")
        try:
            size = len(base64.b64decode(rest, validate=True))
        except ValueError:
            size = 0
        if prefix != "whsec" or not MIN_SECRET <= size <= MAX_SECRET:
            raise ValueError(f"not the secret of a webhook: whsec_ and {MIN_SECRET} to {MAX_SECRET} bytes in base64")
        return secret

    @field_validator("kinds")
    @classmethod
    def _check_kinds(cls, kinds: list[str]) -> list[str]:
        for unknown in sorted(set(kinds) - KINDS.keys()):
            raise ValueError(f"there are no events of kind {unknown!r}; known: {', '.join(KINDS)}")
        return kinds

    @property
    def id(self) -> str:
        """The same for as long as it is the same address."""
        return hashlib.sha256(self.url.encode()).hexdigest()[:12]

    def wants(self, event: Event) -> bool:
        """Whether an event goes there."""
        return (not self.kinds or event["kind"] in self.kinds) and (not self.models or event["model"] in self.models)


def parse_webhooks(text: str) -> list[WebhookTarget]:
    """The targets of ``DRIFTLINE_WEBHOOKS``; :class:`ConfigurationError` says what is wrong with it."""
    try:
        value: Any = json.loads(Path(text[1:]).read_text() if text.startswith("@") else text)
        if not isinstance(value, list):
            raise ConfigurationError("DRIFTLINE_WEBHOOKS is not a JSON list")
        return [WebhookTarget.model_validate(target) for target in value]
    except ValidationError as error:
        # What was given is left out: it holds the secret.
        first = error.errors(include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise ConfigurationError(f"DRIFTLINE_WEBHOOKS: {field}: {first['msg']}") from None
    except (OSError, json.JSONDecodeError) as error:
        raise ConfigurationError(f"DRIFTLINE_WEBHOOKS: {error}") from None


class PrivateAddress(Exception):
    """The name of a target stands for an address that is not of the public Internet."""


class WebhookSender:
    """Sends the events that one target wants. Of several processes one sends; the place in the events is kept in the store.

    An event is sent again, at growing intervals, until the target answers with 2xx; those after it wait. One that is not taken
    for ``give_up_seconds`` is left out. After a crash events of the last seconds may come again, with the same ``webhook-id``.

    Args:
        is_private_allowed: it may be an address that is not of the public Internet.
        first_pause, last_pause: seconds until an event is sent again, the first time and at most.
    """

    def __init__(
        self,
        target: WebhookTarget,
        connection: RedisConnection,
        feed: EventFeed,
        *,
        is_private_allowed: bool = False,
        timeout: float = 10.0,
        first_pause: float = 1.0,
        last_pause: float = 300.0,
        give_up_seconds: float = 24 * 3600.0,
        claim_ms: int = CLAIM_MS,
    ) -> None:
        self.target = target
        self.connection = connection
        self.feed = feed
        self.is_private_allowed = is_private_allowed
        self.timeout, self.give_up_seconds = timeout, give_up_seconds
        self.first_pause, self.last_pause = first_pause, last_pause
        self.claim_ms = claim_ms
        self.owner = secrets.token_hex(8)
        self.keys = connection.keys.of(INSTANCE)
        self._sent: deque[str] = deque(maxlen=MAX_REMEMBERED)

    async def run(self) -> None:
        """Sends until cancelled."""
        async with httpx.AsyncClient(timeout=self.timeout, trust_env=False) as client:
            while True:
                # Without the store nothing happens that could be sent, and the app is as well as it was.
                with suppress(Unavailable):
                    if await self._is_mine():
                        await self._send_all(client)
                await asyncio.sleep(self.claim_ms / 3000)

    async def _is_mine(self) -> bool:
        """Whether this process sends to the target; it is so for a while, and is asked again before that has passed."""
        claim = self.keys.item(f"webhook:{self.target.id}")
        return bool(await self.connection.scripts.run("hold", [claim], [self.owner, self.claim_ms]))

    async def _send_all(self, client: httpx.AsyncClient) -> None:
        """Sends what happens from the kept place on, for as long as this process is the one that sends."""
        place = await self._place()
        reader = await self.feed.all_events(place)
        if place is None:
            # Whoever goes on, goes on from here, also if this process sends nothing.
            await self._keep(EventPlace(int(1000 * await self.connection.time()), 0, INSTANCE))
        async for batch in self.feed.of_all(reader):
            if not await self._is_mine():
                return
            for stored in batch:
                if str(stored.cursor) not in self._sent and not await self._send(client, stored, reader.names):
                    return
            if batch:
                await self._keep(batch[-1].cursor)

    async def _send(self, client: httpx.AsyncClient, stored: StoredEvent, names: Mapping[str, str]) -> bool:
        """Sends an event until it is taken, or given up; False: another process sends now."""
        event = shown(stored, names)
        if not self.target.wants(event):
            return True
        pause, waited = self.first_pause, 0.0
        while (why := await self._failure(client, event)) is not None:
            if waited >= self.give_up_seconds:
                logger.error(
                    "the webhook %s has not taken event %s, which is left out: %s", self._host, event["id"], why
                )
                break
            logger.warning(
                "the webhook %s does not take event %s, and is tried again: %s", self._host, event["id"], why
            )
            if not await self._wait(pause):
                return False
            waited, pause = waited + pause, min(self.last_pause, 2 * pause)
        self._sent.append(event["id"])
        await self._keep(stored.cursor)
        return True

    async def _wait(self, seconds: float) -> bool:
        """Waits, and keeps the claim meanwhile; False where it is lost."""
        while seconds > 0:
            part = min(seconds, self.claim_ms / 3000)
            await asyncio.sleep(part)
            seconds -= part
            if not await self._is_mine():
                return False
        return True

    async def _failure(self, client: httpx.AsyncClient, event: Event) -> str | None:
        """Sends an event once; why it was not taken."""
        try:
            response = await client.send(await self._request(client, event))
        except (httpx.HTTPError, httpx.InvalidURL, OSError, PrivateAddress) as error:
            return f"{type(error).__name__}: {error}"
        return None if response.is_success else f"it answers {response.status_code}"

    async def _request(self, client: httpx.AsyncClient, event: Event) -> httpx.Request:
        now = datetime.now(UTC)
        body = orjson.dumps({"type": f"driftline.{event['kind']}", "timestamp": now.isoformat(), "data": event})
        url = httpx.URL(self.target.url)
        headers = {
            "host": url.netloc.decode(),
            "content-type": "application/json",
            "webhook-id": event["id"],
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": Webhook(self.target.secret).sign(event["id"], now, body.decode()),
        }
        # The address that was checked is the one that is connected to, whatever the name stands for a moment later.
        address = await self._address(url)
        extensions = {"sni_hostname": url.host} if url.scheme == "https" else {}
        return client.build_request(
            "POST", url.copy_with(host=address), content=body, headers=headers, extensions=extensions
        )

    async def _address(self, url: httpx.URL) -> str:
        port = url.port or (443 if url.scheme == "https" else 80)
        found = await asyncio.get_running_loop().getaddrinfo(url.host, port, type=socket.SOCK_STREAM)
        addresses = [str(each[4][0]) for each in found]
        private = [each for each in addresses if not _is_public(each)]
        if private and not self.is_private_allowed:
            raise PrivateAddress(f"{url.host} stands for {private[0]}, and DRIFTLINE_WEBHOOK_PRIVATE is not set")
        return addresses[0]

    async def _place(self) -> EventPlace | None:
        with store_errors():
            found = await self.connection.redis.hget(self.keys.meta, f"webhook:{self.target.id}")
        return parse_cursor(found.decode(), "webhook") if found else None

    async def _keep(self, place: EventPlace) -> None:
        with store_errors():
            await self.connection.redis.hset(self.keys.meta, f"webhook:{self.target.id}", str(place))

    @property
    def _host(self) -> str:
        """The host of the target: its path may hold a secret."""
        return httpx.URL(self.target.url).host


def _is_public(address: str) -> bool:
    found = ipaddress.ip_address(address.partition("%")[0])
    return (getattr(found, "ipv4_mapped", None) or found).is_global
