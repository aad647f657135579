"""Two apps, two workers and the embedded Valkey: restarted when they die, each with a network of its own to the store."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from redis import Redis

from driftline.client.clients import Client
from driftline.errors import DriftlineError, NotFound
from driftline.processes.embedded import EmbeddedServer
from driftline.processes.plan import address, program
from driftline.processes.supervisor import Child, Guard, Supervisor, bind
from tests.faults.parts import Proxy
from tests.waiting import until

APPS = ("app-1", "app-2")
WORKERS = ("worker-1", "worker-2")
LEASE_SECONDS = 2.0
ORPHAN_SECONDS = 2.0
SWEEP_SECONDS = 0.5
CHECKPOINT_SECONDS = 1.0
PATIENCE_SECONDS = 20.0
STOP_SECONDS = 30.0
SETTINGS = {
    "DRIFTLINE_LEASE_SECONDS": str(LEASE_SECONDS),
    "DRIFTLINE_CHECKPOINT_SECONDS": str(CHECKPOINT_SECONDS),
    "DRIFTLINE_ORPHAN_SECONDS": str(ORPHAN_SECONDS),
    "DRIFTLINE_SWEEP_SECONDS": str(SWEEP_SECONDS),
    "DRIFTLINE_KEEP_VERSIONS": "5",
    "DRIFTLINE_VERSION_SECONDS": "60",
    "DRIFTLINE_LOG_KEEP": "5000",
}
"""Everything that is done now and then is done all the time."""


class Processes:
    """What is broken. ``links`` are the proxies between each process and Valkey; ``armed`` the failpoint of its next start."""

    def __init__(self, folder: Path) -> None:
        self.data_dir = folder / "data"
        self.lines: list[str] = []
        self.armed: dict[str, str] = {}
        self.links: dict[str, Proxy] = {}
        self.clients: dict[str, Client] = {}
        self.redis: Any
        self._children: dict[str, Child] = {}
        self._listeners = {name: bind("127.0.0.1", 0) for name in APPS}
        self._log = (folder / "processes.log").open("wb")
        self._supervisor = Supervisor(self._plan, self._report)
        self._thread = threading.Thread(target=self._supervisor.run)

    def __enter__(self) -> Processes:
        self._thread.start()
        until(lambda: len(self.clients) == len(APPS))
        until(lambda: all(self.finds_its_store(app) for app in APPS))
        return self

    def __exit__(self, *_: object) -> None:
        self._supervisor.stop()
        self._thread.join()
        for client in self.clients.values():
            client.close()
        for listener in self._listeners.values():
            listener.close()
        self._log.close()

    def pid(self, name: str) -> int:
        """The process id that a child has; waits for one that is being started."""
        process = until(lambda: self._process(name))
        return int(process.pid)

    def _process(self, name: str) -> subprocess.Popen[bytes] | None:
        process = self._children[name].process
        return process if process is not None and process.poll() is None else None

    def finds_its_store(self, app: str) -> bool:
        """Whether an app answers, and Valkey answers it."""
        try:
            self.clients[app].receipt("nobody", "nothing")
        except NotFound:
            return True
        except DriftlineError:
            return False
        return False

    def predicts(self, app: str, model: str) -> bool:
        try:
            self.clients[app].predict(model, [[0.5] * 8])
        except DriftlineError:
            return False
        return True

    def _report(self, line: str) -> None:
        self._log.write(f"{time.monotonic():.2f} {line}\n".encode())

    @contextlib.contextmanager
    def _plan(self, guard: Guard) -> Iterator[Sequence[Child]]:
        server = EmbeddedServer(self.data_dir, guard)
        self.redis = Redis.from_url(server.url)
        with contextlib.ExitStack() as stack:
            stack.callback(server.stop)

            def valkey() -> subprocess.Popen[bytes]:
                server.start()
                assert server.process is not None
                return server.process

            children = [Child("valkey", valkey, STOP_SECONDS)]
            for name in (*WORKERS, *APPS):
                self.links[name] = stack.enter_context(Proxy(server.url.removeprefix("unix://")))
                children.append(Child(name, lambda name=name: self._start(name, guard), STOP_SECONDS))  # type: ignore[misc]
            self._children = {child.name: child for child in children}
            for app, listener in self._listeners.items():
                self.clients[app] = Client(address(listener), timeout=PATIENCE_SECONDS, retries=0)
            yield children

    def _start(self, name: str, guard: Guard) -> subprocess.Popen[bytes]:
        own = {"DRIFTLINE_REDIS_URL": self.links[name].url, "DRIFTLINE_DATA_DIR": str(self.data_dir)}
        own["DRIFTLINE_FAILPOINTS"] = self.armed.pop(name, "")
        if name == "worker-1":  # As `driftline up` starts its worker; the other one is as `driftline worker` starts it.
            own["DRIFTLINE_WORKER_ID"] = "0" * 12
        environment = {key: value for key, value in os.environ.items() if not key.startswith("DRIFTLINE_")}
        files = [self._listeners[name].fileno()] if name in APPS else []
        command = program("app", "--fd", str(files[0])) if files else program("worker")
        return guard.spawn(
            command, env=environment | SETTINGS | own, pass_fds=files, stdout=self._log, stderr=subprocess.STDOUT
        )
