"""Where a job trains: on the learner's thread while it is short, else in a process of its own."""

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
from driftline.learning.learner import Learner
from driftline.learning.retraining.job import RetrainJob
from driftline.learning.stateful import State
from driftline.processes.plan import program
from driftline.processes.supervisor import describe_exit

from .compute import Compute
from .model_store import ModelStore
from .training_process import JOB, TRAINED, JobMessage, read_state, write_state

logger = logging.getLogger("driftline.jobs")

MAX_LINE_BYTES = 1 << 26
"""The most that a process tells at once."""


class TrainingFailedElsewhere(Exception):
    """The process of a job ended without a result."""


class TrainingPlaces:
    """How many jobs of this worker train at once in processes of their own.

    Args:
        count: so many; further ones wait.
        light_seconds: a job that has computed for so long on the learner's thread goes to a process.
        end_seconds: how long a process may take to write how far it has come when it is told to end.
    """

    def __init__(self, count: int, light_seconds: float = 1.0, end_seconds: float = 10.0) -> None:
        self.free = asyncio.Semaphore(count)
        self.light_seconds = light_seconds
        self.end_seconds = end_seconds


class Training:
    """The training of one model's jobs.

    Args:
        places: where heavy jobs train; None: all of them train on the learner's thread.
        slice_seconds: for how long a job computes there between two steps of the stream.
    """

    def __init__(self, places: TrainingPlaces | None = None, slice_seconds: float = 0.05) -> None:
        self.places = places
        self.slice_seconds = slice_seconds
        self.on_end: Callable[[], None] = lambda: None
        """Called when a process has ended."""
        self._run: _Run | None = None
        self._light: tuple[RetrainJob, float] | None = None

    def worked(self, job: RetrainJob, seconds: float) -> None:
        """Notes for how long a job has computed on the learner's thread."""
        before = self._light[1] if self._light is not None and self._light[0] is job else 0.0
        self._light = job, before + seconds

    def is_heavy(self, job: RetrainJob) -> bool:
        """Whether a job trains in a process of its own from here on."""
        if self.places is None or job.is_done:
            return False
        light = self._light
        return light is not None and light[0] is job and light[1] >= self.places.light_seconds

    def leave_unless(self, job: RetrainJob | None) -> None:
        """Kills the process of a job that is no longer there, or that goes on with another recipe."""
        if self._run is not None and not self._run.is_of(job):
            self._run.kill()
            self._run = None

    async def advance(self, store: ModelStore, compute: Compute, learner: Learner) -> bool:
        """Begins the training of the learner's job elsewhere, or takes what came of it; whether it did the latter.

        Raises:
            TrainingFailedElsewhere: the process failed, or was killed.
        """
        job = learner.retraining
        assert job is not None and self.places is not None
        if self._run is None:
            self._run = _Run(job, await compute(_packed, learner), self.places, store, self.on_end)
        if not self._run.task.done():
            return False
        run, self._run = self._run, None
        await self._take(await run.task, compute, learner)
        return True

    async def bring_back(self, compute: Compute, learner: Learner) -> bool:
        """Ends the process, and takes over how far it has come; false where there is none, or nothing of use has come of it."""
        run, self._run = self._run, None
        if run is None:
            return False
        if not run.has_begun or not run.is_of(learner.retraining):
            run.kill()
            return False
        run.terminate()
        try:
            async with asyncio.timeout(run.places.end_seconds):
                await self._take(await asyncio.shield(run.task), compute, learner)
        except (TimeoutError, TrainingFailedElsewhere):
            run.kill()
            return False
        return True

    async def _take(self, state: State, compute: Compute, learner: Learner) -> None:
        job = learner.retraining
        assert job is not None
        await compute(job.take_trained, state, learner.class_table, learner.factories)

    def kill(self) -> None:
        """Ends the process at once, if there is one."""
        self.leave_unless(None)


def _packed(learner: Learner) -> State:
    job = learner.retraining
    assert job is not None
    state = job.state_dict()
    more: dict[str, Any] = {"class_table": list(learner.class_table.names), "factories": list(learner.factories)}
    return State({name: tensor.clone() for name, tensor in state.tensors.items()}, {**state.data, **more})


class _Run:
    """One job in one process."""

    def __init__(
        self, job: RetrainJob, state: State, places: TrainingPlaces, store: ModelStore, on_end: Callable[[], None]
    ) -> None:
        self.job = job
        self.places = places
        self.store = store
        self._specs = _specs(job)
        self._process: Process | None = None
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
        process = self._process = await asyncio.create_subprocess_exec(
            *program("worker", "--train", str(folder)), stdin=PIPE, stdout=PIPE, limit=MAX_LINE_BYTES
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
        if not last.is_written:
            raise TrainingFailedElsewhere(f"its process {describe_exit(code)}")

    def terminate(self, is_urgent: bool = False) -> None:
        """Asks the process to write how far it has come, or, if it is urgent, ends it."""
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
