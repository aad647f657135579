"""API keys: what is kept, who may do what, and what happens when the file changes."""

from __future__ import annotations

import contextlib
import json
import shutil
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from driftline.api_keys import KeyStore
from driftline.errors import ConfigurationError, Conflict, CorruptData, InvalidInput, NotFound


@pytest.fixture
def store(tmp_path: Path) -> KeyStore:
    return KeyStore(tmp_path / "data" / "keys.json")


def test_a_key_is_known_by_its_text_alone(store: KeyStore) -> None:
    token = store.create(["predict", "feedback"], "phone app")
    key = store.check(token)
    assert key is not None
    assert (key.id, key.name, key.scopes) == (token.split(".")[0], "phone app", ("predict", "feedback"))
    for wrong in ("", ".", token[:-1], token + "x", key.id, key.id + ".", token.replace(key.id, "other"), "é.é"):
        assert store.check(wrong) is None


def test_the_file_holds_no_secret_and_only_its_owner_reads_it(store: KeyStore) -> None:
    token = store.create(["admin"], "me")
    assert token.split(".")[1] not in store.path.read_text()
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o600


def test_another_process_sees_a_new_and_a_revoked_key_at_once(store: KeyStore) -> None:
    server = KeyStore(store.path)
    assert not server.is_required
    token = store.create(["predict"], "")
    assert server.is_required and server.check(token) is not None
    store.revoke(token.split(".")[0])
    assert server.check(token) is None


def a_server_that_ran(store: KeyStore) -> KeyStore:
    server = KeyStore(store.path)
    assert server.is_required
    return server


def a_server_that_starts(store: KeyStore) -> KeyStore:
    return KeyStore(store.path)


@pytest.mark.parametrize("server", [a_server_that_ran, a_server_that_starts])
@pytest.mark.parametrize("gone", ["removed", "no keys", "the last one revoked", "all but the marker", "the marker"])
def test_what_takes_the_keys_away_closes_the_server(
    store: KeyStore, server: Callable[[KeyStore], KeyStore], gone: str
) -> None:
    token = store.create(["admin"])
    asked = server(store)
    if gone == "no keys":
        store.path.write_text('{"keys": []}')
    elif gone == "the last one revoked":
        store.revoke(token.partition(".")[0])
    elif gone == "the marker":
        store.marker.unlink()
    else:
        store.path.unlink()
    assert asked.is_required
    assert (asked.check(token) is not None) is (gone == "the marker")
    assert KeyStore(store.path).is_required, "also after the next start"


def test_a_server_remembers_its_keys_when_its_whole_folder_is_gone(store: KeyStore) -> None:
    store.create(["admin"])
    server = a_server_that_ran(store)
    shutil.rmtree(store.path.parent)
    assert server.is_required and not server.list()


def test_a_file_of_keys_of_an_earlier_release_needs_no_marker(store: KeyStore) -> None:
    store.create(["admin"])
    store.marker.unlink()
    assert KeyStore(store.path).is_required
    assert store.marker.exists(), "it is noted at the first look"


def test_a_key_that_cannot_be_noted_is_not_made(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("no folder")
    store = KeyStore(tmp_path / "keys.json", tmp_path / "data" / "keys-required")
    with pytest.raises(ConfigurationError):
        store.create(["admin"])
    assert not store.path.exists()


def test_a_key_works_until_it_expires(store: KeyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    token = store.create(["predict"], expires=now + 60)
    monkeypatch.setattr(time, "time", lambda: now + 59)
    assert store.check(token) is not None
    monkeypatch.setattr(time, "time", lambda: now + 60)
    assert store.check(token) is None
    for expires in (now, 0.0, float("nan")):
        with pytest.raises(InvalidInput, match="not a time to come"):
            store.create(["predict"], expires=expires)


def test_a_rotated_key_keeps_its_id_and_its_former_secret_for_a_while(
    store: KeyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    former = store.create(["predict"], "phone app", models=["weather"])
    token = store.rotate(former.partition(".")[0], grace_seconds=60)
    new, old = store.check(token), store.check(former)
    assert new == old and new is not None and (new.name, new.models) == ("phone app", ("weather",))
    monkeypatch.setattr(time, "time", lambda: now + 120)
    assert store.check(token) is not None and store.check(former) is None
    assert (
        former.partition(".")[2] not in store.path.read_text() and token.partition(".")[2] not in store.path.read_text()
    )
    with pytest.raises(NotFound):
        store.rotate("nobody")


def test_a_secret_without_grace_works_no_longer(store: KeyStore) -> None:
    former = store.create(["predict"])
    store.rotate(former.partition(".")[0])
    assert store.check(former) is None


@pytest.mark.parametrize("pattern", ["", "Team", "a b", "[a-z]", "x" * 65, "a/b", "é"])
def test_a_pattern_that_no_model_can_have_is_refused(store: KeyStore, pattern: str) -> None:
    with pytest.raises(InvalidInput, match="models"):
        store.create(["predict"], models=[pattern])


@pytest.mark.parametrize(
    ("limits", "is_refused"), [({"models": ["weather"]}, True), ({"expires": 4e9}, False), ({}, False)]
)
def test_an_admin_for_some_models_is_none_that_makes_keys(
    store: KeyStore, limits: dict[str, Any], is_refused: bool
) -> None:
    with pytest.raises(Conflict) if is_refused else contextlib.nullcontext():
        store.create(["admin"], **limits, keeps_admin=True)


def test_a_key_of_a_former_release_may_weigh_as_it_could(store: KeyStore) -> None:
    token = store.create(["feedback"])
    other = store.create(["predict"])
    key = store.check(token)
    assert key is not None and not key.may("weights")
    former = json.loads(store.path.read_text())
    del former["format"]
    for each in former["keys"]:
        del each["models"], each["expires"], each["former_sha256"], each["former_until"]
    store.path.write_text(json.dumps(former))
    for secret, may in ((token, True), (other, False)):
        key = KeyStore(store.path).check(secret)
        assert key is not None and key.may("weights") is may
    store.create(["predict"])
    key = KeyStore(store.path).check(token)
    assert key is not None and key.may("weights"), "also after the file is written anew"


def test_keys_made_at_the_same_time_are_all_kept(store: KeyStore) -> None:
    threads = [threading.Thread(target=KeyStore(store.path).create, args=(["predict"],)) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.list()) == 16
    assert not list(store.path.parent.glob(".keys-*"))


def test_an_unknown_scope_or_id_is_refused_and_changes_nothing(store: KeyStore) -> None:
    store.create(["predict"], "")
    with pytest.raises(InvalidInput, match="'root' is no scope"):
        store.create(["predict", "root"], "")
    with pytest.raises(InvalidInput):
        store.create([], "")
    with pytest.raises(NotFound):
        store.revoke("nobody")
    assert len(store.list()) == 1


@pytest.mark.parametrize(
    "content", ["", "{", "[]", json.dumps({"keys": [{"id": "x"}]}), '{"keys": [{"scopes": ["root"]}]}']
)
def test_a_torn_file_never_reads_as_no_keys(store: KeyStore, content: str) -> None:
    store.create(["predict"], "")
    store.path.write_text(content)
    with pytest.raises(CorruptData):
        _ = store.is_required


def test_a_secret_that_has_proved_its_key_does_so_no_longer_than_the_key_or_its_grace_lasts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1e9]
    monkeypatch.setattr(time, "time", lambda: now[0])
    store, other = (KeyStore(tmp_path / "keys.json") for _ in range(2))
    token = store.create(["predict"], expires=now[0] + 100)
    identifier = token.partition(".")[0]
    assert store.check(token) is not None
    newer = other.rotate(identifier, grace_seconds=10)
    assert store.check(token) is not None and store.check(newer) is not None
    now[0] += 10
    assert store.check(token) is None and store.check(newer) is not None
    now[0] += 90
    assert store.check(newer) is None
    lasting = store.create(["predict"])
    assert store.check(lasting) is not None
    other.revoke(lasting.partition(".")[0])
    assert store.check(lasting) is None
