"""Several recipes played at the same time, each in a process of its own: on this machine, or on the nodes of a Ray cluster."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import PIPE

import msgspec

from driftline.backtest.play_process import PLAYED, TASK, PlayMessage, PlayTask, played_from_bytes, to_bytes
from driftline.backtest.played import Played
from driftline.backtest.replay import Advance, BacktestProgress, play_in_turn
from driftline.backtest.stream import Stream
from driftline.errors import InvalidInput
from driftline.networks.place import ComputedWith
from driftline.processes.on_ray import on_a_node
from driftline.processes.plan import program
from driftline.processes.supervisor import describe_exit
from driftline.spec import ModelSpec

PROGRAM = "driftline.backtest.play_process"


class PlayPool:
    """Plays recipes in processes, to the answers that this process would have come to.

    Args:
        count: how many at the same time; fewer than two recipes are played in this process.
        is_on_ray: they run on the nodes of the cluster of ``DRIFTLINE_RAY_ADDRESS``; those that it cannot play run here.
        on_lost: told why.
    """

    def __init__(self, count: int, is_on_ray: bool = False, on_lost: Callable[[str], None] = lambda why: None) -> None:
        self.count = count
        self.is_on_ray = is_on_ray
        self.on_lost = on_lost
        self._processes: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._is_over = False

    def __call__(
        self,
        stream: Stream,
        specs: Mapping[str, ModelSpec],
        delay: int,
        seed: int,
        factories: Collection[str],
        advance: Advance,
    ) -> dict[str, Played]:
        """The answers of each recipe, by its name.

        Raises:
            InvalidInput: a network does not fit, or the process of a recipe was killed.
        """
        if not self.is_on_ray and min(self.count, len(specs)) < 2:
            return play_in_turn(stream, specs, delay, seed, factories, advance)
        place = ComputedWith.here(specs.values())

        def played(name: str) -> Played:
            def told(message: PlayMessage) -> None:
                with self._lock:
                    advance(BacktestProgress(name, message.rows, len(stream), message.measure))

            return self._played(PlayTask(place, stream, specs[name], delay, seed, list(factories)), name, told)

        with ThreadPoolExecutor(self.count) as threads:
            try:
                return dict(zip(specs, threads.map(played, specs), strict=True))
            finally:
                self._end()
                threads.shutdown(cancel_futures=True)

    def _played(self, task: PlayTask, name: str, told: Callable[[PlayMessage], None]) -> Played:
        with tempfile.TemporaryDirectory(prefix="driftline-backtest-") as made:
            folder = Path(made)
            (folder / TASK).write_bytes(to_bytes(task))
            if not self.is_on_ray or (lost := self._follow(on_a_node(folder, PROGRAM), told)) is not None:
                if self.is_on_ray:
                    self.on_lost(f"{name} is played on this machine, as no node of the Ray cluster can: {lost}")
                if (lost := self._follow(program(PROGRAM, str(folder)), told)) is not None:
                    raise InvalidInput(f"{name} was not played: {lost}", value=name)
            return played_from_bytes((folder / PLAYED).read_bytes())

    def _follow(self, command: list[str], told: Callable[[PlayMessage], None]) -> str | None:
        """Runs a process that plays, and passes on what it says; why it cannot be played there, if so.

        Raises:
            InvalidInput: it cannot be played at all.
        """
        last = PlayMessage()
        with self._running(command) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if not line.endswith(b"\n"):  # It was killed in the midst of it.
                    break
                last = msgspec.json.decode(line, type=PlayMessage)
                if last.failed is not None:
                    raise InvalidInput(last.failed)
                if last.rows:
                    told(last)
            code = process.wait()
        return None if last.is_written else last.lost or f"its process {describe_exit(code)}"

    @contextlib.contextmanager
    def _running(self, command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
        """A process, which ends with the block or with :meth:`_end`."""
        with self._lock:
            if self._is_over:
                raise InvalidInput("another recipe was not played")
            process = subprocess.Popen(command, stdin=PIPE, stdout=PIPE)
            self._processes.add(process)
        try:
            with process:
                try:
                    yield process
                finally:
                    process.kill()
        finally:
            self._processes.discard(process)

    def _end(self) -> None:
        with self._lock:
            self._is_over = True
            for process in self._processes:
                process.kill()
