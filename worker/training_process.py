"""The training of one job in a process of its own: it reads the job's state from a folder, trains, and writes the state back.

It trains as the learner's own process would, draw by draw, so that the weights are the same. Told to end (SIGTERM), it writes
how far it has come. When the worker that has started it is gone, it ends, and removes the folder.
"""

from __future__ import annotations

import shutil
import signal
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import torch

from driftline.errors import DriftlineError
from driftline.learning.retraining.job import RetrainJob
from driftline.learning.stateful import State
from driftline.networks import bundle
from driftline.networks.place import ComputedWith, OtherPlace, lost_or_failed
from driftline.networks.user_code import user_code
from driftline.settings import Settings
from driftline.spec.classes import ClassTable
from driftline.support.started import end_with_the_starter, line_channel

JOB, TRAINED = "job", "trained"
TELL_SECONDS = 0.5


class JobMessage(msgspec.Struct, omit_defaults=True):
    """What the process says, a line each: how far it is, at last that its state is written, or why it failed.

    ``updates`` counts those that it has made, and ``rows`` are those of the race that it has to do with. ``lost`` says why it
    cannot be trained here, but as well as ever where the worker is.
    """

    updates: int = 0
    rows: dict[int, Any] = {}
    is_written: bool = False
    failed: str | None = None
    lost: str | None = None


def write_state(folder: Path, name: str, state: State) -> None:
    """Writes a state into a folder."""
    (folder / f"{name}.safetensors").write_bytes(bundle.weights_to_bytes(state.tensors))
    (folder / f"{name}.json").write_bytes(msgspec.json.encode(state.data))


def read_state(folder: Path, name: str) -> State:
    """The state that was written under a name."""
    tensors = bundle.weights_from_bytes((folder / f"{name}.safetensors").read_bytes())
    return State(tensors, msgspec.json.decode((folder / f"{name}.json").read_bytes()))


def train(folder: Path, tell: Callable[[JobMessage], None], is_told_to_end: threading.Event) -> None:
    """Trains the job in a folder to its end, or to that of a rung, or until it is told to end; writes what it has come to.

    Raises:
        DriftlineError: it cannot be trained.
        OtherPlace: this machine has another build, or other code, than the worker's.
    """
    state, told_at = read_state(folder, JOB), -TELL_SECONDS
    table, factories = ClassTable(state.data.pop("class_table")), state.data.pop("factories")
    ComputedWith(**state.data.pop("place")).check()
    rung = state.data.pop("rung")
    with user_code("the job"):
        halving = RetrainJob.from_state(state, table, factories).halving
        before = halving.done
        while not (halving.is_through(rung) or is_told_to_end.is_set()):
            halving.advance()
            if time.monotonic() - told_at >= TELL_SECONDS:
                told_at = time.monotonic()
                tell(JobMessage(halving.done - before, halving.table()))
    write_state(folder, TRAINED, halving.state_dict())
    tell(JobMessage(halving.done - before, halving.table(), is_written=True))


def main(folder: Path) -> None:
    channel = line_channel()
    torch.set_num_threads(Settings().threads)
    is_told_to_end = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: is_told_to_end.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_the_starter(partial(shutil.rmtree, folder, ignore_errors=True))

    def tell(told: JobMessage) -> None:
        channel.write(msgspec.json.encode(told) + b"\n")

    try:
        train(folder, tell, is_told_to_end)
    except (OtherPlace, DriftlineError) as error:
        lost, failed = lost_or_failed(error)
        tell(JobMessage(failed=failed, lost=lost))
