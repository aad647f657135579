"""``driftline keys``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from driftline.api_keys import KeyStore


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


def test_an_unknown_scope_is_one_sentence(run: Any) -> None:
    result = run("keys", "create", "--scope", "root")
    assert result.returncode == 2
    assert result.stderr == "driftline: 'root' is no scope; known: predict, feedback, admin, metrics\n"
