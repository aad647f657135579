"""What the tests break a running Driftline with: a second worker, a network of their own, and callers that never stop."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import http.client
import json
import os
import re
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from driftline.processes.plan import program
from driftline.store.connection import source
from tests import forked
from tests.services import is_there
from tests.waiting import SECONDS, until

BODY = json.dumps({"inputs": [[0.5] * 8]}).encode()
"""A row to predict."""


def digest(script: str) -> bytes:
    """What a request that runs a script carries."""
    return hashlib.sha1(source(script).encode()).hexdigest().encode()


APPEND, ACQUIRE = digest("append"), digest("acquire")


class Asker(threading.Thread):
    """Predicts again and again until it is stopped, each time on a connection of its own."""

    def __init__(self, url: str, model: str = "weather") -> None:
        super().__init__()
        self.host = url.removeprefix("http://").rstrip("/")
        self.path = f"/v1/models/{model}/predict"
        self.versions: list[int] = []
        self.refusals: list[str] = []
        self.broken = 0
        self.is_over = threading.Event()

    def run(self) -> None:
        while not self.is_over.wait(0.03):
            connection = http.client.HTTPConnection(self.host, timeout=SECONDS)
            try:
                connection.request("POST", self.path, BODY, {"content-type": "application/json"})
                answer = connection.getresponse()
                text = answer.read()
            except (OSError, http.client.HTTPException):
                self.broken += 1
                continue
            finally:
                connection.close()
            if answer.status == 200:
                self.versions.append(json.loads(text)["version"])
            else:
                self.refusals.append(text.decode())


@contextlib.contextmanager
def asking(url: str, model: str = "weather") -> Iterator[Asker]:
    """An :class:`Asker` beside the block: whatever happens there, versions never go back, and no answer is an error."""
    asker = Asker(url, model)
    asker.start()
    try:
        yield asker
    finally:
        asker.is_over.set()
        asker.join()
    assert asker.versions and asker.versions == sorted(asker.versions)
    assert asker.refusals == []


class WorkerProcess:
    """A ``driftline worker``, and what it says."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.log = Path(tempfile.mkstemp(dir=folder, prefix="worker-")[1])
        with self.log.open("wb") as log:
            self.process = forked.start(program("worker")[1:], os.environ | environment, folder, log)
        self.owner: str = until(self._owner)

    def __enter__(self) -> WorkerProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def _owner(self) -> str:
        assert self.process.poll() is None, self.said
        return owner_in(self.said)

    @property
    def said(self) -> str:
        return self.log.read_text()

    @property
    def pid(self) -> int:
        return self.process.pid

    def end(self) -> int:
        """SIGTERM, and the exit code."""
        self.process.terminate()
        self.process.send_signal(signal.SIGCONT)
        try:
            return self.process.wait(SECONDS)
        finally:
            self.process.kill()
            self.process.wait()


def owner_in(text: str) -> str:
    """The name under which the newest worker whose log this is owns models; empty while there is none."""
    found = re.findall(r"worker (\w{12}) learns", text)
    return found[-1] if found else ""


@contextlib.contextmanager
def stopped(pid: int) -> Iterator[None]:
    """A process that is there and does nothing."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        if is_there(pid):
            os.kill(pid, signal.SIGCONT)


class Proxy(threading.Thread):
    """A TCP connection to ``target``, a port or a Unix socket, that a test can cut, delay, or leave half open.

    ``on_request`` sees what a client sends and says what becomes of it: ``pass``, ``half`` (half of it arrives, then the
    connection is cut), ``deaf`` (all of it arrives, and the connection is cut ahead of the answer), or ``mute`` (this
    connection carries nothing from now on, and both ends believe that it stands).
    """

    def __init__(self, target: int | str) -> None:
        super().__init__(daemon=True)
        self.target = target
        self.delay = 0.0
        self.is_cut = False
        self.is_half_open = False
        self.on_request: Callable[[bytes], str] = lambda data: "pass"
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._writers: set[asyncio.StreamWriter] = set()
        self._is_open = threading.Event()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def __enter__(self) -> Proxy:
        self.start()
        assert self._is_open.wait(SECONDS)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self.join()

    def run(self) -> None:
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        self._is_open.set()
        self._loop.run_forever()
        server.close()
        self._loop.run_until_complete(self._end_connections())
        self._loop.close()

    async def _end_connections(self) -> None:
        connections = asyncio.all_tasks() - {asyncio.current_task()}
        for connection in connections:
            connection.cancel()
        await asyncio.gather(*connections, return_exceptions=True)

    def cut(self) -> None:
        """Breaks all connections; new ones are broken at once, until :meth:`heal`."""
        self.is_cut = True
        self._loop.call_soon_threadsafe(self._break)

    def heal(self) -> None:
        self.is_cut = self.is_half_open = False
        self._loop.call_soon_threadsafe(self._break)

    def _break(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            if not self.is_cut:
                await self._connect(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()
            self._writers.discard(writer)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await self._open()
        self._writers.add(to_server)
        state = {"fate": "pass"}
        ways = [
            asyncio.create_task(self._carry(reader, to_server, state, is_request=True)),
            asyncio.create_task(self._carry(from_server, writer, state, is_request=False)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            to_server.transport.abort()
            self._writers.discard(to_server)

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if isinstance(self.target, str):
            return await asyncio.open_unix_connection(self.target)
        return await asyncio.open_connection("127.0.0.1", self.target)

    async def _carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, state: dict[str, str], *, is_request: bool
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(2**20):
                if is_request and state["fate"] == "pass":
                    state["fate"] = self.on_request(data)
                await asyncio.sleep(self.delay / 2)
                if self.is_half_open or state["fate"] == "mute":
                    continue
                if not is_request and state["fate"] == "deaf":
                    return
                writer.write(data[: len(data) // 2] if state["fate"] == "half" else data)
                await writer.drain()
                if state["fate"] == "half":
                    return


class Meddling:
    """What a proxy does to the next appends: each fate once, in order. ``is_done`` when all have happened."""

    def __init__(self, *fates: str) -> None:
        self.left = list(fates)

    def __call__(self, data: bytes) -> str:
        return self.left.pop(0) if self.left and APPEND in data else "pass"

    @property
    def is_done(self) -> bool:
        return not self.left


@contextlib.contextmanager
def replaced_by_a_file(folder: Path) -> Iterator[None]:
    """No model's folder can be used."""
    aside = folder.with_name("aside")
    folder.rename(aside)
    folder.write_text("")
    try:
        yield
    finally:
        folder.unlink()
        aside.rename(folder)
