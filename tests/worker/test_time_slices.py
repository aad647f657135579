"""Calls of models compute in turn: a long one gives way between its modules, and comes to the same numbers."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.waiting import until, until_async
from worker.compute import SHORT_SECONDS, ComputeMeter, ModelCompute
from worker.time_slices import FairLock, TimeSlices
from worker.turns import TurnFile

pytestmark = pytest.mark.anyio


class Layered(nn.Module):
    """Layers with dropout, between which something happens, in the pass to the front and in that to the back."""

    def __init__(self, between: Callable[[str], None]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleList([nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.5)) for _ in range(3)])
        self.between = between

    def forward(self, rows: Tensor) -> Tensor:
        for number, layer in enumerate(self.layers):
            self.between(f"to {number}")
            rows = layer(rows)
            if rows.requires_grad:
                rows.register_hook(lambda gradient, number=number: self.between(f"back {number}"))
        return rows


def update(network: nn.Module) -> list[Tensor]:
    """The answers and gradients of an update."""
    torch.manual_seed(3)
    found = network(torch.ones(4, 8))
    found.square().sum().backward()
    return [found.detach(), torch.rand(2), *(weight.grad for weight in network.parameters() if weight.grad is not None)]


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as found:
        yield found


def test_a_lock_goes_to_those_who_wait_in_their_order() -> None:
    lock, order = FairLock(), list[int]()

    def take(number: int) -> None:
        lock.acquire()
        order.append(number)
        lock.release()

    lock.acquire()
    assert not lock.is_wanted
    waiting = []
    for number in range(4):
        waiting.append(threading.Thread(target=take, args=[number]))
        waiting[-1].start()
        until(lambda: lock._last_ticket == len(waiting) + 1)
    assert lock.is_wanted
    lock.release()
    for thread in waiting:
        thread.join()
    assert order == [0, 1, 2, 3]


@pytest.mark.parametrize("place", ["to 1", "to 2", "back 1", "back 0"])
async def test_a_long_call_gives_way_and_comes_to_the_same_numbers(
    threads: ThreadPoolExecutor, tmp_path: Path, place: str
) -> None:
    expected = update(Layered(lambda place: None))
    slices, turns, meter = TimeSlices(), TurnFile(tmp_path, "mine"), ComputeMeter()
    long, short = (ModelCompute(threads, uid, turns, meter, slices) for uid in ("long", "short"))
    happened, is_asked = list[str](), threading.Event()

    def between(here: str) -> None:
        happened.append(here)
        if here == place:
            is_asked.set()
            until(lambda: slices.lock.is_wanted)

    def now() -> None:
        """Another model's call: it draws, learns, and is the one that is named."""
        happened.append("short")
        torch.rand(5)
        update(Layered(lambda place: None))
        assert (tmp_path / "mine").read_bytes().rstrip(b"\0") == b"short"
        assert meter.current() is not None and meter.current()[0] == "short"  # type: ignore[index]

    computing = asyncio.create_task(long(update, Layered(between)))
    await until_async(is_asked.is_set)
    await short(now)
    for found, wanted in zip(await computing, expected, strict=True):
        assert torch.equal(found, wanted)
    passed = ["to 0", "to 1", "to 2", "back 2", "back 1", "back 0"]
    index = passed.index(place) + 1
    assert happened == [*passed[:index], "short", *passed[index:]], "in its midst, and at the next place"
    assert (tmp_path / "mine").read_bytes().rstrip(b"\0") == b""
    assert meter.current() is None and set(meter.seconds) == {"long", "short"}
    turns.close()


async def test_a_call_that_has_not_had_its_time_goes_on(
    threads: ThreadPoolExecutor,
) -> None:
    slices = TimeSlices(least_seconds=1e9)
    long, short = (ModelCompute(threads, uid, slices=slices) for uid in ("long", "short"))
    happened, is_asked = list[str](), threading.Event()

    def between(here: str) -> None:
        is_asked.set()
        until(lambda: slices.lock.is_wanted)
        happened.append(here)

    computing = asyncio.create_task(long(update, Layered(between)))
    await until_async(is_asked.is_set)
    await short(happened.append, "short")
    await computing
    assert happened[-1] == "short" and len(happened) == 7


async def test_what_fails_ends_its_turn(threads: ThreadPoolExecutor) -> None:
    slices = TimeSlices()
    failing, other = (ModelCompute(threads, uid, slices=slices) for uid in ("failing", "other"))
    with pytest.raises(RuntimeError, match="shapes"):
        await failing(nn.Linear(2, 2), torch.ones(1, 3))
    assert torch.equal(await other(torch.ones, 1), torch.ones(1))
    assert not torch.nn.modules.module._global_forward_hooks


async def test_the_hook_is_there_for_calls_that_have_been_long(threads: ThreadPoolExecutor) -> None:
    compute = ModelCompute(threads, "one")

    def hooks() -> int:
        return len(torch.nn.modules.module._global_forward_hooks)

    assert await compute(hooks) == 1, "nothing is known of it"
    compute._usual_seconds = SHORT_SECONDS / 2
    assert await compute(hooks) == 0
    compute._usual_seconds = 2 * SHORT_SECONDS
    assert await compute(hooks) == 1
