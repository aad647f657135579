"""Starts the learning process: ``python -P worker/__main__.py``."""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path

# Started by its path it has no package yet: `driftline.worker` where Driftline is installed, `worker` in a checkout. Our own
# packages come first, and the user's folder, with its factories, last.
if not __package__:
    folder = Path(__file__).resolve().parent
    is_installed = (folder.parent / "__init__.py").is_file()
    __package__ = "driftline.worker" if is_installed else "worker"
    sys.path.insert(0, str(folder.parents[is_installed]))
    gc.disable()  # Of what a start makes hardly anything is garbage, and looking for it takes a sixth of the start.
sys.path.append(str(Path.cwd()))
if sys.argv[1:2] == ["--train"]:
    os.nice(10)  # Labels and predictions go first, also before the imports below, which compute for seconds.

import asyncio
import signal

import torch

from driftline.errors import DriftlineError
from driftline.settings import Settings
from driftline.support.logs import set_up_logging
from driftline.support.tracing import open_tracing

from . import training_process
from .main import Worker


async def run(settings: Settings) -> None:
    worker = Worker(settings, tracing=open_tracing("driftline-worker") if settings.traces else None)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, worker.stop)
    await worker.run()


def main() -> None:
    settings = Settings()
    set_up_logging(settings.log_level, settings.log_format)
    torch.set_num_threads(settings.threads)
    gc.freeze()  # What the start has made stays: no collection should look at all of torch again while labels wait.
    gc.enable()
    if sys.argv[1:2] == ["--train"]:
        return training_process.main(Path(sys.argv[2]))
    try:
        asyncio.run(run(settings))
    except DriftlineError as error:
        sys.exit(f"driftline: {error}")


if __name__ == "__main__":
    main()
