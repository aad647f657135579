"""One job that trains in processes of its own, on this machine or on nodes of a Ray cluster."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import signal
import tempfile
from asyncio.subprocess import PIPE, Process
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from driftline.errors import Unavailable
from driftline.learning.retraining.job import RetrainJob
from driftline.learning.stateful import State
from driftline.processes.on_ray import MAX_LINE_BYTES
from driftline.processes.plan import program
from driftline.processes.supervisor import describe_exit
from driftline.support.tasks import end

from .model_store import ModelStore
from .ray_engine import RayEngine
from .training_process import JOB, TRAINED, JobMessage, read_state, write_state

logger = logging.getLogger("driftline.jobs")

RAY_LOST = "ray_lost"
"""The alarm at a model whose job trains on this machine, as no node can train it."""


class TrainingFailedElsewhere(Exception):
    """The process of a job ended without a result."""


class TrainingPlaces:
    """How many jobs of this worker, or trials of a race, train at once in processes of their own.

    Args:
        count: so many; further ones wait.
        light_seconds: a job that has computed for so long on the learner's thread goes to a process.
        end_seconds: how long a process may take to write how far it has come when it is told to end.
        ray: the cluster where the processes run. Jobs that it cannot train do so on this machine, one after another.
    """

    def __init__(
        self, count: int, light_seconds: float = 1.0, end_seconds: float = 10.0, ray: RayEngine | None = None
    ) -> None:
        self.count = count
        self.free = asyncio.Semaphore(count)
        self.free_here = asyncio.Semaphore(count if ray is None else 1)
        self.light_seconds = light_seconds
        self.end_seconds = end_seconds
        self.ray = ray


class TrainingRun:
    """One job, in one process, or in several at the same time."""

    def __init__(
        self,
        job: RetrainJob,
        states: Sequence[State],
        places: TrainingPlaces,
        store: ModelStore,
        on_end: Callable[[], None],
    ) -> None:
        self.job = job
        self.places = places
        self.store = store
        self._specs = _specs(job)
        self.parts = [TrainingPart(state, places, self._told, self._is_lost) for state in states]
        self.task = asyncio.create_task(self._train())
        self.task.add_done_callback(lambda task: on_end())

    @property
    def has_begun(self) -> bool:
        """Whether a process has been started."""
        return any(part.process is not None for part in self.parts)

    def is_of(self, job: RetrainJob | None) -> bool:
        """Whether it trains this job, as it is now."""
        return job is self.job and _specs(self.job) == self._specs

    async def _train(self) -> list[State]:
        tasks = [asyncio.create_task(part.train()) for part in self.parts]
        try:
            return await asyncio.gather(*tasks)
        finally:
            await end(*tasks)  # One that fails, fails the job.

    async def _told(self) -> None:
        updates = sum(part.last.updates for part in self.parts)
        rows = {number: row for part in self.parts for number, row in part.last.rows.items()}
        with contextlib.suppress(Unavailable):
            await self.store.commit_log.report_progress(
                self.job.job, self.job.progress_after(updates), self.job.report(rows)
            )

    async def _is_lost(self, lost: str | None) -> None:
        """Says in the alarms that no node can train it, or that one can."""
        with contextlib.suppress(Unavailable):
            if lost is None:
                await self.store.withdraw(RAY_LOST)
                return
            message = (
                f"job {self.job.job} trains on the machine of its worker, as no node of the Ray cluster can: {lost}"
            )
            logger.warning("%s", message)
            await self.store.alarm(RAY_LOST, message)

    def terminate(self) -> None:
        """Asks the processes to write how far they have come."""
        for part in self.parts:
            part.terminate()

    def kill(self) -> None:
        """Ends them at once; nothing comes of it."""
        for part in self.parts:
            part.kill()
        self.task.cancel()


class TrainingPart:
    """One process, which trains all of a job or a part of its race.

    Args:
        state: what it reads.
        on_told: called when it has said how far it is, which is its ``last`` message.
        on_lost: told why no node of the cluster can train it; None: one has.
    """

    def __init__(
        self,
        state: State,
        places: TrainingPlaces,
        on_told: Callable[[], Awaitable[None]],
        on_lost: Callable[[str | None], Awaitable[None]],
    ) -> None:
        self.state = state
        self.places = places
        self.last = JobMessage()
        self.process: Process | None = None
        self._on_told, self._on_lost = on_told, on_lost
        self._is_told_to_end = False

    async def train(self) -> State:
        """What it has come to, at its end or when it was told to end.

        Raises:
            TrainingFailedElsewhere: nothing came of it.
        """
        async with self.places.free:
            try:
                if not self._is_told_to_end:
                    return await self._train_in(
                        Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="driftline-training-"))
                    )
            except OSError as error:  # No room for its state, or no process to be had.
                raise TrainingFailedElsewhere(f"it cannot be trained in a process of its own: {error}") from error
            except TrainingFailedElsewhere:
                # One that has not come as far as to listen is ended by what it is told.
                if not self._is_told_to_end:
                    raise
            return self.state.below("halving")

    async def _train_in(self, folder: Path) -> State:
        try:
            await asyncio.to_thread(write_state, folder, JOB, self.state)
            await self._run(folder)
            return await asyncio.to_thread(read_state, folder, TRAINED)
        finally:
            self.kill()
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    async def _run(self, folder: Path) -> None:
        ray = self.places.ray
        if ray is not None:
            lost = await self._follow(ray.command(folder), ray.environment)
            if lost is not None and self._is_told_to_end:
                raise TrainingFailedElsewhere(lost)
            await self._on_lost(lost)
            if lost is None:
                return
        async with self.places.free_here:
            if (lost := await self._follow(program("worker", "--train", str(folder)))) is not None:
                raise TrainingFailedElsewhere(lost)

    async def _follow(self, command: list[str], environment: dict[str, str] | None = None) -> str | None:
        """Runs a process that trains it, and listens to it; why it cannot be trained there, if so.

        Raises:
            TrainingFailedElsewhere: the job itself failed.
        """
        process = self.process = await asyncio.create_subprocess_exec(
            *command, stdin=PIPE, stdout=PIPE, limit=MAX_LINE_BYTES, env=environment
        )
        assert process.stdout is not None
        self.last = JobMessage()
        async for line in process.stdout:
            if not line.endswith(b"\n"):  # It was killed in the midst of it.
                break
            self.last = msgspec.json.decode(line, type=JobMessage)
            await self._on_told()
        code = await process.wait()
        if self.last.failed is not None:
            raise TrainingFailedElsewhere(self.last.failed)
        return None if self.last.is_written else self.last.lost or f"its process {describe_exit(code)}"

    def terminate(self) -> None:
        """Asks the process to write how far it has come."""
        self._is_told_to_end = True
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """Ends the process at once."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        if self.process is not None and self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(number)


def _specs(job: RetrainJob) -> list[Any]:
    return [trial.course.spec for trial in job.halving.trials]
