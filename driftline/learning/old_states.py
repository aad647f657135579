"""States that former releases wrote, in today's names.

Format 1 is that of release 0.1, format 2 that of 0.2. A release that changes state adds one function here, from the format
before it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from driftline.errors import CorruptData
from driftline.learning.late_labels import LateLabels
from driftline.learning.stateful import State, named, part
from driftline.records import STATE_FORMAT
from driftline.spec.classes import ClassTable

FORMAT = STATE_FORMAT
TENSORS_OF_1 = (
    # (how a name began in format 1, how it begins now)
    (r"^judge\.latest\.", "promotion.comparison_buffer."),
    (r"^judge\.(canary|probation)\.", r"judge.\1.module."),
    (r"^judge\.holdout\.", "promotion.holdout.rows."),
    (r"^judge\.probation\.", "promotion.promotion_watch."),
    (r"^judge\.", "promotion."),
    (r"^memory\.", "replay_buffer.rows."),
    (r"^monitor\.lookout\.witness\.", "monitor.input_drift.frozen_copy."),
    (r"^monitor\.lookout\.(inputs|embedding)\.(reference|recent)\.", r"monitor.input_drift.\1.\2.rows."),
    (r"^monitor\.lookout\.", "monitor.input_drift."),
    (r"^monitor\.recent\.", "monitor.recent.examples."),
    (r"^retraining\.arrived\.", "retraining.learned_meanwhile."),
)
"""Applied in their order, each to what the ones before have made."""
TRAINEES_OF_1 = r"^(trainee|retraining\.race\.\d+)\."
"""Whose tensors :func:`_course_of_1` takes."""


def upgraded(state: State) -> State:
    """A learner's state of any format up to today's, as today's; :class:`CorruptData` where it is newer."""
    found = state.data.get("format", 1)
    if found == FORMAT:
        return state
    if found not in (1, 2):
        message = (
            f"a checkpoint of format {found}; this Driftline reads up to {FORMAT}: start the newer one that wrote it"
        )
        raise CorruptData(message, code="unknown_format")
    return _of_2(_of_1(state) if found == 1 else state)


def _of_2(state: State) -> State:
    """Before labels could be late."""
    return State({**state.tensors, **named("late_labels", LateLabels().state_dict().tensors)}, state.data)


def _of_1(state: State) -> State:
    data = state.data
    course = _course_of_1(part(state.tensors, "trainee"), data["spec"]["recipe"])
    table = ClassTable(data["classes"])
    job = None if data["retraining"] is None else _job_of_1(state, table)
    tensors = {**_tensors_of_1(state.tensors), **named("course", course.tensors)}
    return State(
        {**tensors, **(named("retraining", job.tensors) if job is not None else {})},
        {
            "format": FORMAT,
            **{name: data[name] for name in ("spec", "classes", "seed", "learned", "ordered_since")},
            "class_table": table.names,
            "monitor": _monitor_of_1(data["monitor"]),
            "course": course.data,
            "replay_buffer": {"policy": data["memory"]},
            "promotion": _promotion_of_1(data["judge"]),
            "retraining": None if job is None else job.data,
        },
    )


def _tensors_of_1(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """All that only has another name: without what training keeps."""
    found = {}
    for name, value in tensors.items():
        if re.match(TRAINEES_OF_1, name):
            continue
        for pattern, new in TENSORS_OF_1:
            name = re.sub(pattern, new, name)
        found[name] = value
    return found


def _course_of_1(tensors: Mapping[str, Tensor], recipe: Mapping[str, Any]) -> State:
    """What training kept, as tensors alone."""
    hooks, strategy = _hooks_of_1(part(tensors, "upkeep")), _strategy_of_1(part(tensors, "method"))
    averaging = _averaging_of_1(part(tensors, "upkeep.averaging")) if recipe["averaging"] is not None else None
    schedule = {name: value.item() for name, value in part(tensors, "schedule").items()}
    found = {
        "state.counts": tensors["counts"],
        "state.generator": tensors["generator"],
        "state.rng_state": tensors["chance"],
        **named("state.module", part(tensors, "module")),
        **named("state.optimizer", part(tensors, "optimizer")),
        **named("weight_hooks", hooks.tensors),
        **(named("averaging", averaging.tensors) if averaging is not None else {}),
        **named("strategy", strategy.tensors),
    }
    data = {
        "state": {"labels": int(tensors["labels"])},
        "schedule": _schedule_of_1(schedule),
        "weight_hooks": hooks.data,
        "averaging": averaging.data if averaging is not None else None,
        "strategy": strategy.data,
    }
    return State(found, data)


def _schedule_of_1(numbers: Mapping[str, float]) -> dict[str, Any]:
    whole = ("since", "count")
    found: dict[str, Any] = {name: int(value) if name in whole else value for name, value in numbers.items()}
    if "factor" in found:
        found["share"] = found.pop("factor")
        found["lowest"] = None if math.isinf(found["lowest"]) else found["lowest"]
    return found


def _averaging_of_1(tensors: Mapping[str, Tensor]) -> State:
    numbers = {"updates": int(tensors["count"]), "taken_at": int(tensors["at"])}
    return State(named("average", _by_parameter(tensors, "average")), numbers)


def _hooks_of_1(tensors: Mapping[str, Tensor]) -> State:
    refresh = part(tensors, "refresh")
    found = named("l2_sp.origin", _by_parameter(part(tensors, "l2_sp"), "origin"))
    for quantity in ("utility", "age", "due"):
        found |= named(f"refresh.{quantity}", _by_parameter(refresh, quantity))
    data: dict[str, Any] = {}
    if refresh:
        data["refresh"] = {"updates": int(refresh["updates"])}
    if "sanitize.repaired" in tensors:
        data["sanitize"] = {"repaired": int(tensors["sanitize.repaired"])}
    return State(found, data)


def _strategy_of_1(tensors: Mapping[str, Tensor]) -> State:
    """Of EWC and of the mixture; the others keep nothing."""
    if "labels" in tensors:
        found: dict[str, Tensor] = {}
        for kind in ("importance", "gathered", "center"):
            found |= named(kind, _by_parameter(tensors, kind))
        return State(found, {"labels": int(tensors["labels"])})
    waiting = part(tensors, "waiting") or {"targets": torch.zeros(0, dtype=torch.int64), "weights": torch.zeros(0)}
    mixture = part(tensors, "mixture")
    if not mixture:
        return State(named("waiting", waiting), {"mixture": None})
    unsolved, untrained, steps = mixture.pop("counters").tolist()
    counters = {"unsolved": unsolved, "untrained": untrained, "bank": {"steps": steps}}
    return State({**named("mixture", mixture), **named("waiting", waiting)}, {"mixture": counters})


def _by_parameter(tensors: Mapping[str, Tensor], quantity: str) -> dict[str, Tensor]:
    """Tensors that were named ``parameter.quantity``, by parameter."""
    end = f".{quantity}"
    return {name.removesuffix(end): value for name, value in tensors.items() if name.endswith(end)}


def _monitor_of_1(data: Mapping[str, Any]) -> dict[str, Any]:
    found = {**data, "recent": {"numbers": data["recent"]}, "detector": _detector_of_1(data["detector"])}
    lookout = found.pop("lookout")
    found["input_drift"] = None if lookout is None else _input_drift_of_1(lookout)
    return found


def _detector_of_1(data: Mapping[str, Any]) -> dict[str, Any]:
    names = {"all": "overall", "behind": "after"}
    return {names.get(name, name): value for name, value in data.items()}


def _input_drift_of_1(data: Mapping[str, Any]) -> dict[str, Any]:
    windows = {
        name: {
            "reference": {"numbers": data[name]["reference"]},
            "recent": {"numbers": data[name]["recent"]},
            "unseen": data[name]["unseen"],
        }
        for name in ("inputs", "embedding")
    }
    frozen_copy = {"width": data["width"]} if data["width"] else None
    return {**windows, "born": data["born"], "numbers": data["numbers"], "frozen_copy": frozen_copy}


def _promotion_of_1(data: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "champion": {"width": data["champion_width"]},
        "anchor": {"width": data["anchor_width"]},
        "compared_at": data["judged_at"],
        "anchored_at": data["anchored_at"],
        "served_at": data["served_at"],
        "is_ahead": data["is_ahead"],
        "holdout": _holdout_of_1(data["holdout"]),
        "rejected_streak": data["trial"],
        "canary": data["canary"],
        "promotion_watch": data["probation"],
    }


def _holdout_of_1(data: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(data)
    return {"added": found.pop("arrived"), **found}


def _job_of_1(state: State, table: ClassTable) -> State:
    """What described the job, and the course of each trial."""
    data, race = state.data["retraining"], state.data["retraining"]["race"]
    tensors: dict[str, Tensor] = {}
    trials = {}
    for each in race["racers"]:
        number = str(each["number"])
        course = _course_of_1(part(state.tensors, f"retraining.race.{number}"), each["spec"]["recipe"])
        tensors |= named(f"halving.trials.{number}.course", course.tensors)
        trials[number] = {
            **{name: each[name] for name in ("number", "done", "rung", "scores", "has_learned")},
            "rung_schedule": {"rungs": each["rungs"], "total": each["total"]},
            "course": {"spec": each["spec"], "classes": each["classes"], **course.data},
        }
    # A job's examples counted its own classes.
    ids = torch.tensor(table.add(race["racers"][0]["classes"]), dtype=torch.int64)
    targets = state.tensors["retraining.examples.targets"]
    tensors["examples.targets"] = ids[targets] if len(ids) else targets
    halving = {name: race[name] for name in ("entries", "keeps", "seed", "out")}
    described = {name: data[name] for name in ("job", "classes", "teacher")}
    return State(tensors, {**described, "halving": {**halving, "trials": trials}})
