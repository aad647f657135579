"""The operator's encryption keys, from a file or from a command such as a key management service's.

Each line is an id and 32 bytes in base64; `#` begins a comment. The first key encrypts, all of them decrypt. No message shows
anything of a line that cannot be read: it may be a key.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import shlex
import stat
import subprocess
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from driftline.errors import ConfigurationError
from driftline.settings import Settings
from driftline.store.encryption import KEY_BYTES, Encryption, EncryptionKey

ID = re.compile(r"[A-Za-z0-9._-]{1,32}")
MAX_FILE_BYTES = 2**16
FILE, COMMAND = "DRIFTLINE_ENCRYPTION_KEY_FILE", "DRIFTLINE_ENCRYPTION_KEY_COMMAND"


def encryption_of(settings: Settings, command_seconds: float = 60.0) -> Encryption:
    """How these settings encrypt; without keys nothing is.

    Raises:
        ConfigurationError: the keys cannot be had, are not what they should be, or others than the owner may read them.
    """
    path, command = settings.encryption_key_file, settings.encryption_key_command
    if path is None and not command:
        return Encryption()
    if path is not None and command:
        raise ConfigurationError(f"both {FILE} and {COMMAND} are set: give one of them", field="encryption_key_file")
    if path is not None:
        keys = _parsed(_read(path), f"{FILE}={path}", "encryption_key_file")
    else:
        assert command is not None
        keys = _parsed(_asked(command, command_seconds), f"what {COMMAND} gives", "encryption_key_command")
    try:
        import cryptography  # noqa: F401 - it is needed when the first file is read or written.
    except ImportError:
        raise ConfigurationError(
            "encryption keys are set, which needs the package cryptography: pip install 'driftline[encryption]'",
            code="missing_extra",
        ) from None
    return Encryption(keys)


def _read(path: Path) -> bytes:
    """What the file holds, once others have proved not to have a way to it.

    A file of root's may be read by its group, as an orchestrator mounts secrets.
    """
    try:
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
            if stat.S_IMODE(found.st_mode) & (0o077 if found.st_uid else 0o037):
                raise ConfigurationError(
                    f"{FILE}={path} is open to others than its owner (mode {stat.S_IMODE(found.st_mode):04o}): "
                    f"chmod 600 {path}; and if others may have read it, put a new key before those in it",
                    field="encryption_key_file",
                    value=str(path),
                )
            return file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(
            f"{FILE}={path} cannot be read: {error.strerror}", field="encryption_key_file", value=str(path)
        ) from None


@lru_cache(maxsize=4)
def _asked(command: str, seconds: float) -> bytes:
    """What a command writes; a process asks once. What the command says of its own failure goes where our messages go."""

    def refused(why: str) -> ConfigurationError:
        return ConfigurationError(f"the command of {COMMAND} {why}", field="encryption_key_command")

    try:
        arguments = shlex.split(command)
        done = subprocess.run(arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=seconds, check=True)
    except subprocess.CalledProcessError as error:
        raise refused(f"has failed: it ended with {error.returncode}") from None
    except subprocess.TimeoutExpired:
        raise refused(f"has not ended within {seconds:g} seconds") from None
    except OSError as error:
        raise refused(f"cannot be started: {error.strerror}") from None
    except (ValueError, IndexError):
        raise refused("cannot be read: a quotation mark is open, or it is empty") from None
    return done.stdout


def _parsed(data: bytes, place: str, setting: str) -> list[EncryptionKey]:
    def refused(why: str) -> ConfigurationError:
        return ConfigurationError(f"{place}: {why}", field=setting)

    if len(data) > MAX_FILE_BYTES:
        raise refused(f"more than {MAX_FILE_BYTES} bytes are no list of keys")
    keys: list[EncryptionKey] = []
    for number, words in _lines(data):
        if len(words) != 2 or not ID.fullmatch(words[0]):
            raise refused(
                f"line {number} is not ID KEY: an id of at most 32 letters, digits, `.`, `_` or `-`, and a key in base64"
            )
        identifier, secret = words[0], _decoded(words[1])
        if secret is None or len(secret) != KEY_BYTES:
            what = "is not base64" if secret is None else f"has {len(secret)} bytes"
            raise refused(
                f"the key `{identifier}` in line {number} {what}, and has to be {KEY_BYTES} bytes in base64: "
                "openssl rand -base64 32"
            )
        if any(known.id == identifier for known in keys):
            raise refused(f"the id `{identifier}` in line {number} stands there twice")
        if any(known.secret == secret for known in keys):
            raise refused(f"the key `{identifier}` in line {number} is there already under another id")
        keys.append(EncryptionKey(identifier, secret))
    if not keys:
        raise refused("there is no key in it")
    return keys


def _lines(data: bytes) -> Iterator[tuple[int, list[str]]]:
    """The words of each line that has some, before a comment, with its number."""
    for number, line in enumerate(data.decode(errors="replace").splitlines(), 1):
        if words := line.partition("#")[0].split():
            yield number, words


def _decoded(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
