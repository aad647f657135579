"""One job that trains in a process of its own, on this machine or on a node of a Ray cluster."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import tempfile
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from driftline.errors import Unavailable
from driftline.learning.retraining.job import RetrainJob
from driftline.learning.stateful import State
from driftline.processes.on_ray import MAX_LINE_BYTES
from driftline.processes.plan import program
from driftline.processes.supervisor import describe_exit

from .model_store import ModelStore
from .ray_engine import RayEngine
from .training_process import JOB, TRAINED, JobMessage, read_state, write_state

logger = logging.getLogger("driftline.jobs")

RAY_LOST = "ray_lost"
"""The alarm at a model whose job trains on this machine, as no node can train it."""


class TrainingFailedElsewhere(Exception):
    """The process of a job ended without a result."""


class TrainingPlaces:
    """How many jobs of this worker train at once in processes of their own.

    Args:
        count: so many; further ones wait.
        light_seconds: a job that has computed for so long on the learner's thread goes to a process.
        end_seconds: how long a process may take to write how far it has come when it is told to end.
        ray: the cluster where the processes run. Jobs that it cannot train do so on this machine, one after another.
    """

    def __init__(
        self, count: int, light_seconds: float = 1.0, end_seconds: float = 10.0, ray: RayEngine | None = None
    ) -> None:
        self.free = asyncio.Semaphore(count)
        self.free_here = asyncio.Semaphore(count if ray is None else 1)
        self.light_seconds = light_seconds
        self.end_seconds = end_seconds
        self.ray = ray


class TrainingRun:
    """One job in one process."""

    def __init__(
        self, job: RetrainJob, state: State, places: TrainingPlaces, store: ModelStore, on_end: Callable[[], None]
    ) -> None:
        self.job = job
        self.places = places
        self.store = store
        self._specs = _specs(job)
        self._process: Process | None = None
        self._is_told_to_end = False
        self.task = asyncio.create_task(self._train(state))
        self.task.add_done_callback(lambda task: on_end())

    @property
    def has_begun(self) -> bool:
        """Whether its process has been started."""
        return self._process is not None

    def is_of(self, job: RetrainJob | None) -> bool:
        """Whether it trains this job, as it is now."""
        return job is self.job and _specs(self.job) == self._specs

    async def _train(self, state: State) -> State:
        async with self.places.free:
            try:
                return await self._train_in(
                    Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="driftline-training-")), state
                )
            except OSError as error:  # No room for its state, or no process to be had.
                raise TrainingFailedElsewhere(f"it cannot be trained in a process of its own: {error}") from error

    async def _train_in(self, folder: Path, state: State) -> State:
        try:
            await asyncio.to_thread(write_state, folder, JOB, state)
            await self._run(folder)
            return await asyncio.to_thread(read_state, folder, TRAINED)
        finally:
            self.terminate(is_urgent=True)
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    async def _run(self, folder: Path) -> None:
        ray = self.places.ray
        if ray is not None:
            if (lost := await self._run_on(ray, folder)) is None:
                return
            if self._is_told_to_end:
                raise TrainingFailedElsewhere(lost)
            await self._tell_of_loss(lost)
        async with self.places.free_here:
            if (lost := await self._follow(program("worker", "--train", str(folder)))) is not None:
                raise TrainingFailedElsewhere(lost)

    async def _run_on(self, ray: RayEngine, folder: Path) -> str | None:
        """Trains it on a node; why that cannot be, where it cannot."""
        lost = await self._follow(ray.command(folder), ray.environment)
        if lost is None:
            with contextlib.suppress(Unavailable):
                await self.store.withdraw(RAY_LOST)
        return lost

    async def _tell_of_loss(self, lost: str) -> None:
        message = f"job {self.job.job} trains on the machine of its worker, as no node of the Ray cluster can: {lost}"
        logger.warning("%s", message)
        with contextlib.suppress(Unavailable):
            await self.store.alarm(RAY_LOST, message)

    async def _follow(self, command: list[str], environment: dict[str, str] | None = None) -> str | None:
        """Runs a process that trains it, and tells the store how far it is; why it cannot be trained there, if so.

        Raises:
            TrainingFailedElsewhere: the job itself failed.
        """
        process = self._process = await asyncio.create_subprocess_exec(
            *command, stdin=PIPE, stdout=PIPE, limit=MAX_LINE_BYTES, env=environment
        )
        assert process.stdout is not None
        last = JobMessage()
        async for line in process.stdout:
            if not line.endswith(b"\n"):  # It was killed in the midst of it.
                break
            last = msgspec.json.decode(line, type=JobMessage)
            with contextlib.suppress(Unavailable):
                await self.store.commit_log.report_progress(self.job.job, last.progress, last.report)
        code = await process.wait()
        if last.failed is not None:
            raise TrainingFailedElsewhere(last.failed)
        return None if last.is_written else last.lost or f"its process {describe_exit(code)}"

    def terminate(self, is_urgent: bool = False) -> None:
        """Asks the process to write how far it has come, or, if it is urgent, ends it."""
        self._is_told_to_end = True
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                if is_urgent:
                    self._process.kill()
                else:
                    self._process.terminate()

    def kill(self) -> None:
        """Ends it at once; nothing comes of it."""
        self.terminate(is_urgent=True)
        self.task.cancel()


def _specs(job: RetrainJob) -> list[Any]:
    return [trial.course.spec for trial in job.halving.trials]
