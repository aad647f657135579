"""One recipe, played in a process of its own: it reads what to play from a folder, and writes the answers there.

Run as ``python -m driftline.backtest.play_process FOLDER``. Its lines say how far it is; when its standard input is closed, it
ends.
"""

from __future__ import annotations

import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch

from driftline.backtest.played import Played
from driftline.backtest.replay import play
from driftline.backtest.stream import Stream
from driftline.errors import DriftlineError
from driftline.networks.place import ComputedWith, OtherPlace, lost_or_failed
from driftline.spec import ModelSpec, parse
from driftline.support.started import end_with_the_starter, line_channel

TASK, PLAYED = "task", "played"
TELL_SECONDS = 0.5


@dataclass(frozen=True)
class PlayTask:
    """What a process plays, and where that was begun."""

    place: ComputedWith
    stream: Stream
    spec: ModelSpec
    delay: int
    seed: int
    factories: list[str]


class PlayMessage(msgspec.Struct, omit_defaults=True):
    """What the process says, a line each: how far it is, at last that the answers are written, or why it failed.

    ``lost`` says why it cannot be played here, but as well as ever where it was begun.
    """

    rows: int = 0
    measure: float | None = None
    is_written: bool = False
    failed: str | None = None
    lost: str | None = None


def to_bytes(value: PlayTask | Played) -> bytes:
    """A task or its answers as a file has them."""
    return msgspec.msgpack.encode(value, enc_hook=_plain)


def task_from_bytes(content: bytes) -> PlayTask:
    """The task that was written."""
    return msgspec.msgpack.decode(content, type=PlayTask, dec_hook=_typed)


def played_from_bytes(content: bytes) -> Played:
    """The answers that were written."""
    return msgspec.msgpack.decode(content, type=Played, dec_hook=_typed)


def _plain(value: Any) -> Any:
    if isinstance(value, ModelSpec):
        return value.model_dump(mode="json")
    if isinstance(value, np.ndarray):
        return [value.dtype.str, value.shape, value.tobytes()]
    raise NotImplementedError(f"a {type(value).__name__} is not written")


def _typed(kind: Any, value: Any) -> Any:
    if kind is ModelSpec:
        return parse(ModelSpec, value)
    dtype, shape, content = value
    return np.frombuffer(bytearray(content), dtype).reshape(shape)


def main(folder: Path) -> None:
    channel = line_channel()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_the_starter()
    torch.set_num_threads(1)
    told_at, newest = -TELL_SECONDS, PlayMessage()

    def tell(told: PlayMessage) -> None:
        channel.write(msgspec.json.encode(told) + b"\n")

    def advance(rows: int, measure: float | None) -> None:
        nonlocal told_at, newest
        newest = PlayMessage(rows, measure)
        if time.monotonic() - told_at >= TELL_SECONDS:
            told_at = time.monotonic()
            tell(newest)

    task = task_from_bytes((folder / TASK).read_bytes())
    try:
        task.place.check()
        played = play(task.stream, task.spec, task.delay, task.seed, task.factories, advance)
        (folder / PLAYED).write_bytes(to_bytes(played))
        tell(PlayMessage(newest.rows, newest.measure, is_written=True))
    except (OtherPlace, DriftlineError) as error:
        lost, failed = lost_or_failed(error)
        tell(PlayMessage(failed=failed, lost=lost))


if __name__ == "__main__":
    sys.path.append(str(Path.cwd()))  # The user's factories.
    main(Path(sys.argv[1]))
