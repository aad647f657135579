"""Recipes that are played at the same time come to what they come to one after another."""

from __future__ import annotations

import os
import signal
from typing import Any

import numpy as np
import pytest

from driftline.backtest.arrivals import Arrivals
from driftline.backtest.play_pool import PlayPool
from driftline.backtest.play_process import PlayTask, played_from_bytes, task_from_bytes, to_bytes
from driftline.backtest.played import Played
from driftline.backtest.replay import BacktestProgress, backtest
from driftline.backtest.stream import Stream
from driftline.errors import InvalidInput
from driftline.networks.place import ComputedWith
from driftline.rows.rows import Rows
from tests.backtest.test_replay import stream, world

RECIPES: dict[str, dict[str, Any]] = {"plain": {}, "focal": {"loss": "focal"}}


def repeatable(report: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in report.items() if name != "labels_per_second"}


def test_recipes_in_processes_give_the_same_report_and_tell_how_far_they_are() -> None:
    told: list[BacktestProgress] = []
    alone = backtest(world(120), RECIPES, delay=5)
    shared = backtest(world(120), RECIPES, delay=5, advance=told.append, play_all=PlayPool(2))
    assert repeatable(shared) == repeatable(alone) and list(shared["recipes"]) == list(RECIPES)
    ends = {progress.recipe: progress.measure for progress in told if progress.rows == progress.of_rows}
    assert ends.keys() == RECIPES.keys() and None not in ends.values()


def test_what_a_process_plays_is_what_was_given_and_its_answers_are_what_it_played() -> None:
    rows = np.arange(6, dtype=np.uint8).reshape(3, 2)
    given = stream([1, None, "b"], np.zeros((3, 2), np.float32))
    whole = Stream(
        given.spec,
        Rows({"inputs": rows, "other": rows.astype(np.float16)}, [b"\xff", b"", b"\x00"], {"x": 2}),
        [1, None, [0.1, 2.0]],
        ["first"],
        4,
        [0.1, 1.0, 1e300],
        {1: None, 2: "b"},
        Arrivals([0, 2], [1, 9]),
        ["", "k", "s"],
    )
    found = task_from_bytes(
        to_bytes(PlayTask(ComputedWith({"torch": "2"}, {}), whole, given.spec, 1, 2, ["m:f"]))
    ).stream
    for name in ("spec", "labels", "features", "skipped", "weights", "served", "arrivals", "callers"):
        assert getattr(found, name) == getattr(whole, name), name
    assert (found.inputs.records, found.inputs.unknown) == (whole.inputs.records, whole.inputs.unknown)
    for name, array in whole.inputs.tensors.items():
        same = found.inputs.tensors[name]
        assert same.dtype == array.dtype and np.array_equal(same, array)
    nan = np.array([[np.nan, 0.1]], np.float32)
    played = played_from_bytes(to_bytes(Played([1, None, 0.5], nan, None, [3], [4], 5, 6, 0.1)))
    assert played.probabilities is not None and played.probabilities.tobytes() == nan.tobytes()
    assert (played.answers, played.values, played.versions) == ([1, None, 0.5], None, 5)


def test_a_recipe_that_cannot_be_played_ends_all_and_says_why() -> None:
    with pytest.raises(InvalidInput, match="cuda"):
        backtest(_on_a_device_that_is_not_there(), RECIPES, play_all=PlayPool(2))
    pool = PlayPool(2)
    told: list[str] = []

    def kill(progress: BacktestProgress) -> None:
        told.append(progress.recipe)
        for process in pool._processes:
            os.kill(process.pid, signal.SIGKILL)

    with pytest.raises(InvalidInput, match=r"(plain|focal) was not played: its process .*SIGKILL"):
        backtest(world(20_000), RECIPES, advance=kill, play_all=pool)
    assert told and not pool._processes


def _on_a_device_that_is_not_there() -> Stream:
    given = world(20)
    return Stream(given.spec.model_copy(update={"device": "cuda:7"}), given.inputs, given.labels)
