"""Where a job trains: on the learner's thread while it is short, else in a process of its own."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from typing import Any

from driftline.learning.learner import Learner
from driftline.learning.retraining.job import RetrainJob
from driftline.learning.retraining.trial import TrainingFailed
from driftline.learning.stateful import State
from driftline.networks.place import ComputedWith

from .compute import Compute
from .model_store import ModelStore
from .training_run import TrainingFailedElsewhere, TrainingPlaces, TrainingRun


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
        self._run: TrainingRun | None = None
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

        The trials of a race train at the same time, each rung by itself.

        Raises:
            TrainingFailedElsewhere: the process failed, or was killed.
        """
        job = learner.retraining
        assert job is not None and self.places is not None
        if self._run is None:
            states = await compute(_packed, learner, self.places.count)
            self._run = TrainingRun(job, states, self.places, store, self.on_end)
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

    async def _take(self, states: list[State], compute: Compute, learner: Learner) -> None:
        job = learner.retraining
        assert job is not None
        try:
            await compute(job.take_trained, states, learner.class_table, learner.factories)
        except TrainingFailed as error:
            raise TrainingFailedElsewhere(error.message) from error

    def kill(self) -> None:
        """Ends the process at once, if there is one."""
        self.leave_unless(None)


def _packed(learner: Learner, count: int) -> list[State]:
    """What each of so many processes at most has to train, and what it must know for that."""
    job = learner.retraining
    assert job is not None
    specs = [job.teacher.spec, *(trial.course.spec for trial in job.halving.trials)]
    parts = job.parts(count)
    more: dict[str, Any] = {
        "class_table": list(learner.class_table.names),
        "factories": list(learner.factories),
        "place": dataclasses.asdict(ComputedWith.here(specs)),
        "rung": parts[0].halving.leader.rung if len(parts) > 1 else None,
    }
    # The learner goes on meanwhile, and changes some of these in place.
    tensors = {name: tensor.clone() for name, tensor in job.state_dict().tensors.items()}
    states = [part.state_dict() for part in parts]
    return [State({name: tensors[name] for name in state.tensors}, {**state.data, **more}) for state in states]
