"""``driftline keys``."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from driftline.api_keys import KeyStore
from driftline.store.connection import RedisConnection
from driftline.store.events import BEGINNING, END, INSTANCE, EventLog, StoredEvent


def test_a_key_is_made_listed_and_revoked(run: Any, tmp_path: Path) -> None:
    token = run("keys", "create", "--scope", "predict", "--scope", "feedback", "--name", "phone app").stdout.strip()
    store = KeyStore(tmp_path / "data" / "keys.json")
    key = store.check(token)
    assert key is not None and key.scopes == ("predict", "feedback")

    listed = run("keys", "list")
    assert key.id in listed.stdout and "phone app" in listed.stdout
    assert token.split(".")[1] not in listed.stdout
    assert [row["id"] for row in json.loads(run("keys", "list", "--json").stdout)] == [key.id]

    assert run("keys", "revoke", key.id).returncode == 0
    assert store.check(token) is None
    result = run("keys", "revoke", key.id)
    assert (result.returncode, result.stderr) == (1, f"driftline: there is no key '{key.id}'\n")


def test_a_key_for_some_models_and_days_is_rotated(run: Any, tmp_path: Path) -> None:
    made = ("--scope", "predict", "--model", "team-a-*", "--model", "weather", "--days", "30")
    token = run("keys", "create", *made).stdout.strip()
    identifier, store = token.partition(".")[0], KeyStore(tmp_path / "data" / "keys.json")
    key = store.check(token)
    assert key is not None and key.allows("team-a-1") and key.allows("weather") and not key.allows("team-b-1")
    (row,) = json.loads(run("keys", "list", "--json").stdout)
    assert row["models"] == "team-a-*, weather" and row["expires"] > row["created"]
    rotated = run("keys", "rotate", identifier).stdout.strip()
    assert rotated.partition(".")[0] == identifier
    assert store.check(token) is None and store.check(rotated) is not None


def test_an_unknown_scope_is_one_sentence(run: Any) -> None:
    result = run("keys", "create", "--scope", "root")
    assert result.returncode == 2
    assert result.stderr == "driftline: 'root' is no scope; known: predict, feedback, weights, metrics, admin, audit\n"


def test_a_key_is_an_event_where_an_instance_runs(run: Any, prefix: str, store_url: str) -> None:
    place = {"DRIFTLINE_REDIS_URL": store_url, "DRIFTLINE_PREFIX": prefix}
    token = run("keys", "create", "--scope", "predict", "--name", "phone app", **place).stdout.strip()
    identifier = token.partition(".")[0]
    assert run("keys", "revoke", identifier, **place).returncode == 0

    async def told() -> list[StoredEvent]:
        found = RedisConnection(store_url, prefix)
        try:
            return await EventLog(found, INSTANCE).newest(BEGINNING, END, 10)
        finally:
            await found.close()

    revoked, made = asyncio.run(told())
    assert made.event.message == f"the key {identifier} (phone app) was made"
    assert revoked.event.message == f"the key {identifier} (phone app) was revoked"
    assert {event.event.kind for event in (made, revoked)} == {"key"} and token not in made.event.message
