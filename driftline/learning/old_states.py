"""States that former releases wrote, in today's names.

Format 1 is that of release 0.1. A release that renames state adds one function here, from the format before it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from driftline.errors import CorruptData
from driftline.learning.old_courses import course_of_1
from driftline.learning.stateful import State, named, part
from driftline.records import STATE_FORMAT

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
COURSES_OF_1 = ("trainee.", "retraining.race.")
STREAM, TRIAL = "course", "retraining.halving.trials.{}.course"
DETECTORS_OF_1 = {"all": "overall", "behind": "after"}


def upgraded(state: State) -> State:
    """A learner's state of any format up to today's, as today's; :class:`CorruptData` where it is newer."""
    found = state.data.get("format", 1)
    if found == FORMAT:
        return state
    if found != 1:
        message = f"a checkpoint of format {found}; this Driftline reads up to {FORMAT}: start the newer Driftline that wrote it"
        raise CorruptData(message, code="unknown_format")
    courses = _courses_of_1(state)
    tensors = {name: value for place, course in courses.items() for name, value in named(place, course.tensors).items()}
    data = {"format": FORMAT, **_data_of_1(state.data, {place: course.data for place, course in courses.items()})}
    return State({**_tensors_of_1(state.tensors), **tensors}, data)


def _courses_of_1(state: State) -> dict[str, State]:
    """The courses of the stream and of the trials of a job, by where they stand today."""
    job = state.data["retraining"]
    trials = job["race"]["racers"] if job is not None else []
    return {
        STREAM: course_of_1(part(state.tensors, "trainee"), state.data["spec"]),
        **{
            TRIAL.format(each["number"]): course_of_1(
                part(state.tensors, f"retraining.race.{each['number']}"), each["spec"]
            )
            for each in trials
        },
    }


def _tensors_of_1(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    found = {}
    for name, value in tensors.items():
        if name.startswith(COURSES_OF_1):
            continue
        for pattern, new in TENSORS_OF_1:
            name = re.sub(pattern, new, name)
        found[name] = value
    return found


def _data_of_1(data: Mapping[str, Any], courses: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    return {
        "spec": data["spec"],
        "classes": data["classes"],
        "seed": data["seed"],
        "learned": data["learned"],
        "ordered_since": data["ordered_since"],
        "monitor": _monitor_of_1(data["monitor"]),
        "replay_buffer": {"policy": data["memory"]},
        "promotion": _promotion_of_1(data["judge"]),
        "retraining": None if data["retraining"] is None else _job_of_1(data["retraining"], courses),
        "course": courses[STREAM],
    }


def _monitor_of_1(data: Mapping[str, Any]) -> dict[str, Any]:
    detector = {DETECTORS_OF_1.get(name, name): value for name, value in data["detector"].items()}
    found = {**data, "detector": detector, "recent": {"numbers": data["recent"]}}
    lookout = found.pop("lookout")
    found["input_drift"] = None if lookout is None else _input_drift_of_1(lookout)
    return found


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


def _job_of_1(data: Mapping[str, Any], courses: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    race = data["race"]
    trials = {str(each["number"]): _trial_of_1(each, courses[TRIAL.format(each["number"])]) for each in race["racers"]}
    halving = {name: race[name] for name in ("entries", "keeps", "seed", "out")}
    return {**{name: data[name] for name in ("job", "classes", "teacher")}, "halving": {**halving, "trials": trials}}


def _trial_of_1(data: Mapping[str, Any], course: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **{name: data[name] for name in ("number", "done", "rung", "scores", "has_learned")},
        "rung_schedule": {"rungs": data["rungs"], "total": data["total"]},
        "course": {**course, "spec": data["spec"], "classes": data["classes"]},
    }
