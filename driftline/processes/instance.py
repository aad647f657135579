"""A temporary Driftline: the processes of ``driftline up``, in a temporary folder, on a free port."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO

from driftline.errors import Unavailable
from driftline.processes import plan as local
from driftline.processes.supervisor import Supervisor, bind
from driftline.settings import Settings


@contextlib.contextmanager
def up(note: Callable[[str], None] = print, start_seconds: float = 90.0, **environment: str) -> Iterator[str]:
    """Starts a server, a worker and a Valkey, and yields the URL; they end with the block.

    Args:
        note: called with a line that says where they start.
        start_seconds: how long they may take until they answer.
        environment: their settings, such as ``DRIFTLINE_FACTORIES="…"``; all others have their defaults.
    """
    for name in [name for name in os.environ if name.startswith("DRIFTLINE_")]:
        del os.environ[name]
    os.environ.update(environment)
    with (
        tempfile.TemporaryDirectory(prefix="driftline-") as folder,
        bind("127.0.0.1", 0) as listener,
        open(Path(folder) / "log", "w+b") as log,
        ThreadPoolExecutor(1) as thread,
    ):
        settings = Settings(data_dir=Path(folder))
        supervisor = Supervisor(local.plan(settings, listener, log), lambda line: _write(log, line))
        running = thread.submit(supervisor.run)
        try:
            url = local.address(listener)
            note(f"starting a server, a worker and a Valkey at {url}")
            _wait_until_ready(url, running, log, start_seconds)
            yield url
        finally:
            supervisor.stop()


def _write(log: IO[bytes], line: str) -> None:
    os.write(log.fileno(), f"driftline: {line}\n".encode())


def _wait_until_ready(url: str, running: Future[None], log: IO[bytes], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not local.is_ready(url):
        if running.done():
            running.result()
        if running.done() or time.monotonic() > deadline:
            words = Path(log.name).read_text(errors="replace").strip()[-2000:]
            raise Unavailable(f"the server did not get ready within {seconds:.0f} s; its last words:\n{words}")
        time.sleep(0.1)
