"""What a race costs: successive halving on a budget (Jamieson & Talwalkar 2016, https://arxiv.org/abs/1502.07943)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

FEWEST_EXAMPLES = 20
MOST_HELD = 2000
FEWEST_SEARCHED, MOST_SEARCHED = 10, 100


@dataclass(frozen=True)
class RungSchedule:
    """The updates that a trial has made at the end of each of ``rungs``, and ``total``, all of them, if it wins."""

    rungs: list[int]
    total: int

    def stages(self, done: int = 0) -> list[int]:
        """The updates on the way through each rung, and of the winner behind the last, that are left when ``done`` are made."""
        ends = [*self.rungs, self.total]
        return [max(0, end - max(begin, done)) for begin, end in zip([0, *self.rungs], ends, strict=True)]


@dataclass(frozen=True)
class HalvingBudget:
    """The course of each trial, and how many trials each rung keeps."""

    rung_schedules: list[RungSchedule]
    keeps: list[int]

    def most(self, costs: Sequence[int]) -> int:
        """The most that the race can come to, where an update of each trial costs so much."""
        pairs = zip(self.rung_schedules, costs, strict=True)
        return most(
            [[cost * updates for updates in rung_schedule.stages()] for rung_schedule, cost in pairs], self.keeps
        )


def most(stages: Sequence[Sequence[int]], keeps: Sequence[int]) -> int:
    """The most that trials can cost: those that cost most are taken to win.

    Args:
        stages: what each trial would cost on its way through each rung, and alone behind the last.
        keeps: how many trials each rung keeps.
    """
    places = [len(stages), *keeps]
    return sum(
        sum(sorted(costs, reverse=True)[:count]) for costs, count in zip(zip(*stages, strict=True), places, strict=True)
    )


def halving(totals: Sequence[int]) -> HalvingBudget:
    """Each rung keeps the better half, which then trains on for as long again; the winner goes its ``total`` of updates.

    The first rung ends at 1/2, 1/4, 1/8 … of it, so that the last one ends at a half. A trial alone has no rung.
    """
    count = math.ceil(math.log2(len(totals)))
    keeps = [math.ceil(len(totals) / 2 ** (rung + 1)) for rung in range(count)]
    rungs = [[max(1, total >> (count - rung)) for rung in range(count)] for total in totals]
    return HalvingBudget([RungSchedule(ends, total) for ends, total in zip(rungs, totals, strict=True)], keeps)


def searching(trials: int, total: int, examples: int, batch_size: int) -> HalvingBudget:
    """One rung of an epoch, within bounds, that keeps the best; the winner then goes all the ``total`` of the job."""
    epoch = math.ceil((examples - held_rows(examples)) / batch_size)
    searched = min(MOST_SEARCHED, max(FEWEST_SEARCHED, epoch))
    return HalvingBudget([RungSchedule([searched], searched + total)] * trials, [1])


def held_rows(examples: int) -> int:
    """How many of so many examples judge a race, and are not trained on in it."""
    return min(MOST_HELD, examples // 5)
