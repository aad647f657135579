"""The state of training as format 1 had it, in today's names."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from driftline.learning.stateful import State, named, part
from driftline.spec import ModelSpec, parse


def course_of_1(tensors: Mapping[str, Tensor], described: Mapping[str, Any]) -> State:
    """What was ``trainee``, or a racer of a job; ``described`` is the model's spec as JSON."""
    spec = parse(ModelSpec, described)
    hooks = _hooks_of_1(part(tensors, "upkeep"), [hook.field for hook in spec.recipe.weight_hooks])
    averaging = _averaging_of_1(part(tensors, "upkeep.averaging"))
    strategy = _strategy_of_1(part(tensors, "method"), spec.strategy.name)
    found = {
        **named("state.module", part(tensors, "module")),
        **named("state.optimizer", part(tensors, "optimizer")),
        "state.counts": tensors["counts"],
        "state.generator": tensors["generator"],
        "state.rng_state": tensors["chance"],
        **named("weight_hooks", hooks.tensors),
        **(named("averaging", averaging.tensors) if averaging is not None else {}),
        **named("strategy", strategy.tensors),
    }
    data = {
        "state": {"module": {}, "optimizer": {}, "labels": int(tensors["labels"])},
        "schedule": _schedule_of_1({name: value.item() for name, value in part(tensors, "schedule").items()}),
        "weight_hooks": hooks.data,
        "averaging": averaging.data if averaging is not None else None,
        "strategy": strategy.data,
    }
    return State(found, data)


def _schedule_of_1(values: Mapping[str, float]) -> dict[str, Any]:
    if "since" in values:
        return {"since": int(values["since"])}
    if "factor" not in values:
        return {}
    lowest = values["lowest"] if math.isfinite(values["lowest"]) else None
    return {"share": values["factor"], "lowest": lowest, "total": values["total"], "count": int(values["count"])}


def _hooks_of_1(tensors: Mapping[str, Tensor], fields: Sequence[str]) -> State:
    found: dict[str, Tensor] = {}
    data: dict[str, Any] = {field: {} for field in fields}
    for field in fields:
        own = part(tensors, field)
        if field == "l2_sp":
            found |= {f"l2_sp.origin.{name.removesuffix('.origin')}": value for name, value in own.items()}
            data[field] = {"origin": {}}
        elif field == "refresh":
            data[field] = {"updates": int(own.pop("updates")), "utility": {}, "age": {}, "due": {}}
            found |= {f"refresh.{name}": value for name, value in _by_quantity(own).items()}
        elif field == "sanitize":
            data[field] = {"repaired": int(own["repaired"])}
    return State(found, data)


def _averaging_of_1(tensors: dict[str, Tensor]) -> State | None:
    if not tensors:
        return None
    data = {"average": {}, "updates": int(tensors.pop("count")), "taken_at": int(tensors.pop("at"))}
    return State(_by_quantity(tensors), data)


def _strategy_of_1(tensors: dict[str, Tensor], name: str) -> State:
    if name == "ewc":
        labels = int(tensors.pop("labels"))
        return State(_by_quantity(tensors), {"importance": {}, "gathered": {}, "center": {}, "labels": labels})
    if name != "experts":
        return State({}, {})
    if not tensors:
        return State({}, {"mixture": None, "waiting": None})
    unsolved, untrained, steps = tensors.pop("mixture.counters").tolist()
    mixture = {"unsolved": unsolved, "untrained": untrained, "ridge": {}, "bank": {"steps": steps}}
    return State(tensors, {"mixture": mixture, "waiting": {}})


def _by_quantity(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """``parameter.quantity`` → ``quantity.parameter``."""
    pairs = ((name.rpartition("."), value) for name, value in tensors.items())
    return {f"{quantity}.{owner}": value for (owner, _, quantity), value in pairs}
