"""Failpoints: places where tests let a process die, to check what a crash leaves.

``DRIFTLINE_FAILPOINTS=name:N@FILE`` kills the process when it reaches the failpoint ``name`` for the N-th time. It creates
``FILE`` before, and does not kill again while that exists. Without the variable a failpoint costs one dictionary look-up.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

POINTS = {
    "trainer.learned": "a step is computed, and nothing of it is written",
    "trainer.published": "the files of a version are written, and no step names them",
    "trainer.committed": "a step is committed, and the trainer does not know it yet",
    "trainer.checkpointing": "the files of a checkpoint are written, and the head does not name them",
    "trainer.checkpointed": "a checkpoint is named, and nothing is trimmed or collected yet",
    "retention.retired": "versions are forgotten, and their files are still there",
    "job.finished": "the gate has decided on a job's candidate, and nothing of it is written",
    "forget.relearned": "a model was learned without what is forgotten, and nothing of it is written",
    "forget.committed": "the relearned model is live, and what is forgotten is still in the store",
    "forget.receipts": "receipts are erased; predictions, files and the log are not",
    "forget.predictions": "predictions are erased too; files and the log are not",
    "forget.erased": "all is erased, and the job does not say so yet",
    "source.appended": "a source's batch is in the log, and its reader does not know it",
    "source.buried": "records that a source cannot take are kept, and its position has not moved",
    "source.answered": "the predictions of a source's rows are recorded, and not written to its sink",
    "source.written": "the predictions of a source's rows are written, and its position has not moved",
    "app.appended": "feedback is in the log, and not acknowledged",
    "app.computed": "a batch is computed, and not answered",
    "app.prepared": "a version is prepared, and not yet served",
    "app.created": "the files of a new model are written, and it has no name",
}


def _parse(text: str) -> dict[str, tuple[int, Path]]:
    name, _, rest = text.partition(":")
    count, _, file = rest.partition("@")
    return {name: (int(count), Path(file))} if text else {}


_armed = _parse(os.environ.get("DRIFTLINE_FAILPOINTS", ""))
_reached = 0


def reach(name: str) -> None:
    """The process has reached the failpoint ``name``, one of :data:`POINTS`."""
    if name in _armed:
        _die_when_due(*_armed[name])


def _die_when_due(count: int, file: Path) -> None:
    global _reached
    _reached += 1
    if _reached == count and not file.exists():
        file.touch()
        os.kill(os.getpid(), signal.SIGKILL)
