"""API keys: a file of hashed secrets, each with what it allows."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import hmac
import json
import math
import os
import re
import secrets
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path

import msgspec

from driftline.api.scopes import SCOPES, Scope
from driftline.errors import ConfigurationError, Conflict, CorruptData, InvalidInput, NotFound
from driftline.settings import Settings
from driftline.support import private
from driftline.support.json_text import UNREADABLE

FORMAT = 2
PATTERN = re.compile(r"[a-z0-9_*?-]{1,64}")
OWNER = re.compile(r"[A-Za-z0-9._@-]{1,64}")
MARKER = "keys-required"
"""The file that says that there are keys, or have been."""


class Key(msgspec.Struct, frozen=True):
    """One key as it is kept: the SHA-256 of its secret, never the secret."""

    id: str
    secret_sha256: str
    scopes: tuple[Scope, ...]
    name: str
    created: str
    models: tuple[str, ...] = ()
    """Names or patterns of the models that it is for; none: all."""
    expires: float | None = None
    """Until when it works, in seconds since 1970."""
    former_sha256: str = ""
    """The secret before the last rotation, which works until ``former_until``."""
    former_until: float = 0.0
    owner: str = ""
    """Whose its predictions and labels are; empty: nobody's, as of an admin's and of a key of a release without owners."""

    def allows(self, model: str) -> bool:
        """Whether it is for this model."""
        return not self.models or _matches(self.models, model)

    def may(self, scope: Scope) -> bool:
        """Whether it allows what a scope is for."""
        return scope in self.scopes or "admin" in self.scopes

    def proved_until(self, secret: str, now: float) -> float:
        """Until when ``secret`` proves the key, in seconds since 1970: until it expires, or as long as the one before works; 0
        where it does not.
        """
        given, expires = _digest(secret), math.inf if self.expires is None else self.expires
        if hmac.compare_digest(given, self.secret_sha256):
            return expires
        is_former = now < self.former_until and hmac.compare_digest(given, self.former_sha256)
        return min(expires, self.former_until) if is_former else 0.0


class _File(msgspec.Struct, frozen=True):
    """Without a format: of a release that knew no scope ``weights``, where ``feedback`` allowed it."""

    keys: list[Key] = []
    format: int = 1


class KeyStore:
    """The keys in one file. Every process reads it again when it has changed, so a revoked key stops working at once.

    From the first key on every call needs one, for good: a file that is gone or empty closes the server, and does not open it.
    That is noted in the file ``marker``, before the first key is written.

    Args:
        marker: by default ``keys-required`` beside the keys.
        look_seconds: how long a process may go without looking, where it asks very often.

    >>> store = KeyStore(Path(tempfile.mkdtemp()) / "keys.json")
    >>> token = store.create(["predict"], "phone app")
    >>> store.check(token).name
    'phone app'
    >>> store.check(token + "x") is None
    True
    """

    def __init__(self, path: Path, marker: Path | None = None, look_seconds: float = 0.0) -> None:
        self.path = path
        self.marker = marker or path.with_name(MARKER)
        self.look_seconds = look_seconds
        self._path_text, self._marker_text = str(path), str(self.marker)
        self._is_required = False
        self._look_at = 0.0
        self._stamp: tuple[int, int, int] | None = None
        self._keys: dict[str, Key] = {}
        self._proved: dict[str, tuple[Key, float]] = {}
        """Texts that have proved a key since the keys were read, and until when they do: a hash takes longer than all else."""

    @classmethod
    def of(cls, settings: Settings) -> KeyStore:
        """The keys of an instance. The marker stands in its data directory, wherever the keys are."""
        return cls(settings.keys_path, settings.data_dir / MARKER)

    @property
    def is_required(self) -> bool:
        """Whether a call needs a key: there is one, or there once was, and so it stays."""
        if not self._is_required:
            self._current()
        return self._is_required

    def list(self) -> list[Key]:
        """Every key, in the order of creation."""
        return list(self._current().values())

    def check(self, token: str) -> Key | None:
        """The key that ``token`` (``id.secret``) proves, or None."""
        keys, now = self._current(), time.time()
        key, until = self._proved.get(token, (None, 0.0))
        if now < until:
            return key
        identifier, _, secret = token.partition(".")
        key = keys.get(identifier)
        if key is None or (until := key.proved_until(secret, now)) <= now:
            return None
        self._proved[token] = key, until
        return key

    def create(
        self,
        scopes: Iterable[str],
        name: str = "",
        *,
        models: Iterable[str] = (),
        expires: float | None = None,
        owner: str = "",
        keeps_admin: bool = False,
    ) -> str:
        """Make a key and give its text ``id.secret``: the only time that the secret is known.

        Args:
            models: names or patterns (``team-a-*``) of the models that it is for; none: all.
            expires: until when it works, in seconds since 1970; None: for good.
            owner: whose its predictions and labels are, which keys of one owner share; by default its own, and of an admin
                the instance's.
            keeps_admin: :class:`Conflict` where no key would allow ``admin`` for all models.
        """
        identifier, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
        created = datetime.now(UTC).isoformat(timespec="seconds")
        if expires is not None and not expires > time.time():
            raise InvalidInput(f"expires: {expires!r} is not a time to come", field="expires", value=expires)
        key = Key(identifier, _digest(secret), _parse_scopes(scopes), name, created, parse_models(models), expires)
        key = msgspec.structs.replace(key, owner=parse_owner(owner) or owner_by_default(key))
        with self._changing() as keys:
            keys[identifier] = key
            if keeps_admin:
                _check_admin(keys)
        return f"{identifier}.{secret}"

    def revoke(self, identifier: str, *, keeps_admin: bool = False) -> Key:
        """Remove a key; :class:`NotFound` where there is none. ``keeps_admin`` as of :meth:`create`."""
        with self._changing() as keys:
            found = _found(keys, identifier)
            del keys[identifier]
            if keeps_admin:
                _check_admin(keys)
            return found

    def rotate(self, identifier: str, grace_seconds: float = 0.0) -> str:
        """Give a key a new secret, and give its text; the former secret works for ``grace_seconds`` more.

        :class:`NotFound` where there is no such key.
        """
        secret = secrets.token_urlsafe(32)
        with self._changing() as keys:
            key = _found(keys, identifier)
            former = {"former_sha256": key.secret_sha256, "former_until": time.time() + grace_seconds}
            keys[identifier] = msgspec.structs.replace(key, secret_sha256=_digest(secret), **former)
        return f"{identifier}.{secret}"

    def _current(self) -> dict[str, Key]:
        now = time.monotonic()
        if now >= self._look_at:
            self._look()
            self._look_at = now + self.look_seconds
        return self._keys

    def _look(self) -> None:
        # As text, of which no path is made again: every call looks.
        self._is_required = self._is_required or os.path.exists(self._marker_text)
        try:
            status = os.stat(self._path_text)
        except FileNotFoundError:
            self._stamp, self._keys, self._proved = None, {}, {}
            return
        if not self._is_required:
            self._is_required = True
            with contextlib.suppress(OSError):  # This process remembers it also where the folder cannot be written.
                self._mark()
        stamp = (status.st_mtime_ns, status.st_ino, status.st_size)
        if stamp != self._stamp:
            self._keys, self._proved = self._read(), {}
            self._stamp = stamp

    def _read(self) -> dict[str, Key]:
        try:
            file = msgspec.json.decode(self.path.read_bytes(), type=_File)
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise ConfigurationError(f"the API keys in {self.path} cannot be read: {error.strerror}") from None
        except UNREADABLE as error:
            raise CorruptData(f"{self.path} is not a file of API keys: {error}") from None
        return {key.id: key if file.format > 1 else _with_weights(key) for key in file.keys}

    @contextmanager
    def _changing(self) -> Iterator[dict[str, Key]]:
        """The keys, to be changed; written back as one new file, under a lock that other processes respect."""
        try:
            private.make_folder(self.path.parent)
            with open(self.path.with_name(self.path.name + ".lock"), "w", opener=private.owner_alone) as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                keys = self._read()
                yield keys
                self._write(keys)
                self._look_at = 0.0
        except OSError as error:
            raise ConfigurationError(f"the API keys in {self.path} cannot be written: {error.strerror}") from None

    def _mark(self) -> None:
        private.make_folder(self.marker.parent)
        open(self.marker, "a", opener=private.owner_alone).close()

    def _write(self, keys: dict[str, Key]) -> None:
        self._mark()
        content = (
            json.dumps({"format": FORMAT, "keys": [msgspec.to_builtins(key) for key in keys.values()]}, indent=2) + "\n"
        )
        # mkstemp makes the file readable by its owner alone.
        handle, aside = tempfile.mkstemp(dir=self.path.parent, prefix=".keys-")
        try:
            with os.fdopen(handle, "w") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(aside, self.path)
        except BaseException:
            os.unlink(aside)
            raise


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _check_admin(keys: dict[str, Key]) -> None:
    now = time.time()
    lasting = [key for key in keys.values() if not key.models and (key.expires is None or now < key.expires)]
    if not any("admin" in key.scopes for key in lasting):
        message = (
            "no key would be left that allows admin, and nobody could make one here; on the server: driftline keys"
        )
        raise Conflict(message, code="no_admin", field="scopes", value="admin")


def _found(keys: dict[str, Key], identifier: str) -> Key:
    if identifier not in keys:
        raise NotFound(f"there is no key {identifier!r}", field="id", value=identifier)
    return keys[identifier]


def _with_weights(key: Key) -> Key:
    is_added = "feedback" in key.scopes and "weights" not in key.scopes
    return msgspec.structs.replace(key, scopes=(*key.scopes, "weights")) if is_added else key


@lru_cache(maxsize=4096)
def _matches(patterns: tuple[str, ...], model: str) -> bool:
    return any(fnmatchcase(model, pattern) for pattern in patterns)


def parse_models(models: Iterable[str]) -> tuple[str, ...]:
    """Names or patterns of models, each once; :class:`InvalidInput` names one that is neither."""
    patterns = tuple(dict.fromkeys(models))
    for pattern in patterns:
        if not PATTERN.fullmatch(pattern):
            message = f"models: {pattern!r} is neither the name of a model nor a pattern such as team-a-*"
            raise InvalidInput(message, field="models", value=pattern)
    return patterns


def owner_by_default(key: Key) -> str:
    """Whose predictions and labels a key's are, where nothing else is said."""
    return "" if key.may("admin") else key.id


def parse_owner(owner: str) -> str:
    """The name of an owner; :class:`InvalidInput` where it is none."""
    if owner and not OWNER.fullmatch(owner):
        message = f"owner: {owner!r} is not 1 to 64 letters, digits, dots, dashes, at signs and underscores"
        raise InvalidInput(message, field="owner", value=owner)
    return owner


def _parse_scopes(scopes: Iterable[str]) -> tuple[Scope, ...]:
    wanted = set(scopes)
    for scope in sorted(wanted.difference(SCOPES)):
        raise InvalidInput(f"{scope!r} is no scope; known: {', '.join(SCOPES)}", field="scopes", value=scope)
    if not wanted:
        raise InvalidInput(f"a key needs at least one scope of {', '.join(SCOPES)}", field="scopes")
    return tuple(scope for scope in SCOPES if scope in wanted)
