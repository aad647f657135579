"""How long others go without an answer while something happens: another thread of the process, or who asks its ``/livez``."""

from __future__ import annotations

import contextlib
import multiprocessing
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection

import httpx

from benchmarks.common.load import HOST

AWAY = 0.001
CONTEXT = multiprocessing.get_context("spawn")


@dataclass
class Measured:
    """Seconds, those of a processor, and the longest silence of another thread meanwhile."""

    seconds: float = 0.0
    cpu: float = 0.0
    silence: float = 0.0


@contextlib.contextmanager
def watched() -> Iterator[Measured]:
    """Measures a block, with a thread beside it."""
    found, is_over = Measured(), threading.Event()

    def watch() -> None:
        last = time.perf_counter()
        while not is_over.is_set():
            time.sleep(AWAY)
            now = time.perf_counter()
            found.silence, last = max(found.silence, now - last - AWAY), now

    thread = threading.Thread(target=watch)
    thread.start()
    begin, worked = time.perf_counter(), time.process_time()
    try:
        yield found
    finally:
        found.seconds, found.cpu = time.perf_counter() - begin, time.process_time() - worked
        is_over.set()
        thread.join()


def ask_livez(port: int, end: Connection) -> None:
    """Asks ``/livez`` until told to end; then tells the longest time without an answer, in seconds."""
    longest, last = 0.0, time.perf_counter()
    with httpx.Client() as client:
        client.get(f"http://{HOST}:{port}/livez").raise_for_status()
        end.send(0.0)
        last = time.perf_counter()
        while not end.poll():
            client.get(f"http://{HOST}:{port}/livez").raise_for_status()
            now = time.perf_counter()
            longest, last = max(longest, now - last), now
            time.sleep(AWAY)
    end.send(longest)


@contextlib.contextmanager
def asking_livez(port: int) -> Iterator[list[float]]:
    """Has another process ask ``/livez``; in the end the list has the longest time without an answer, in seconds."""
    found: list[float] = []
    ours, theirs = CONTEXT.Pipe()
    process = CONTEXT.Process(target=ask_livez, args=(port, theirs))
    process.start()
    ours.recv()
    try:
        yield found
    finally:
        ours.send(None)
        found.append(ours.recv())
        process.join()
