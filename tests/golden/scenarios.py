"""The scenarios, by group and name. A new part of Driftline needs one; ``test_golden.py`` says which is missing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.golden.parts import drift, hooks, losses, memories, networks, optimizers
from tests.golden.scenario import BRIEF, EDITED, FEW, HERE, LABELS, REPLAY, STACK, Scenario, restarts, retrain, scenario
from tests.golden.streams import COUNT, LATE_CLASS, SHIFT


def strategies() -> Iterator[tuple[str, Scenario]]:
    given: dict[str, dict[str, Any]] = {
        "agem": {"replayed": 32},
        "der": {"replayed": 32},
        "ewc": {"every": 128},
        "experts": {"replayed": 32},
        "finetune": {},
        "gdumb": {"replayed": 32, "epochs": 3},
        "lwf": {},
        "replay": {"replayed": 32},
    }
    for name, parameters in given.items():
        labels = LABELS if name in ("ewc", "experts", "replay") else FEW
        yield name, scenario({"strategy": {"name": name, **parameters}}, labels=labels)
    for name in ("replay", "ewc", "der", "agem", "finetune", "experts"):
        yield f"{name}, regression", scenario({"strategy": {"name": name, **given[name]}}, labels=FEW, task="values")
    for name in ("experts", "replay"):
        yield (
            f"{name}, balanced",
            scenario({"strategy": {"name": name, **given[name]}, "decide": "balanced"}, labels=FEW),
        )
    yield "by default", scenario(base={}, labels=COUNT)
    yield "by default, regression", scenario(base={}, task="values")
    script = [
        {"at": 80, "do": "recipe", "recipe": {"strategy": "experts"}},
        {"at": 150, "do": "recipe", "recipe": {"strategy": {"name": "ewc", "every": 64}, "batch_size": 24}},
        {"at": 220, "do": "recipe", "recipe": {"strategy": "replay", "memory": {"name": "fifo", "size": 200}}},
    ]
    yield "one after the other", scenario(script=script, labels=FEW)
    yield "one after the other, regression", scenario(script=script, task="values", labels=FEW)


def edits() -> Iterator[tuple[str, Scenario]]:
    layered: dict[str, list[dict[str, Any]]] = {
        "activation": [{"type": "activation", "to": "tanh"}],
        "activation, blended": [{"type": "activation", "to": "gelu", "layer": "relu1", "blend": 60}],
        "adapter": [{"type": "adapter", "rank": 2}],
        "add_classes": [{"type": "add_classes", "classes": [3, 4]}],
        "average": [{"type": "average", "versions": [2, 3]}],
        "average, greedy": [{"type": "average", "versions": [1, 2, 3], "soup": "greedy"}],
        "concatenate": [{"type": "concatenate", "branch": [{"type": "linear", "features": 4}, {"type": "tanh"}]}],
        "freeze": [{"type": "freeze", "layers": ["linear1", "batch_norm1"]}],
        "insert": [{"type": "insert", "after": "relu1", "layer": {"type": "linear", "features": 10}}],
        "merge": [{"type": "merge", "layers": ["linear2", "linear3"]}],
        "merge, normalisation": [{"type": "merge", "layers": ["linear1", "batch_norm1"]}],
        "merge_adapters": [{"type": "adapter", "rank": 2}, {"type": "merge_adapters"}],
        "merge_units": [{"type": "merge_units", "layer": "linear1", "tolerance": 2.0}],
        "prune": [{"type": "prune", "layer": "linear1", "fraction": 0.3}],
        "reinitialise": [{"type": "reinitialise", "layers": ["linear2"], "seed": 3}],
        "reinitialise, units": [{"type": "reinitialise", "layers": ["linear1"], "units": [1, 4]}],
        "reinitialise, dead": [{"type": "reinitialise", "units": "dead"}],
        "remove": [{"type": "remove", "layer": "linear3"}],
        "remove_classes": [{"type": "remove_classes", "classes": [1]}],
        "replace_head": [{"type": "replace_head", "seed": 2}],
        "shrink_and_perturb": [{"type": "shrink_and_perturb", "shrink": 0.6, "noise": 0.2, "seed": 4}],
        "unfreeze": [{"type": "freeze"}, {"type": "unfreeze", "layers": ["linear3"]}],
        "widen": [{"type": "widen", "layer": "linear1", "features": 13}],
    }
    for name, given in layered.items():
        versions = sorted({number for edit in given for number in edit.get("versions", [])})
        # Versions are judged by what is held out of hundreds of labels, before the drift.
        gate, at, labels = ({"holdout": 0.2}, 325, 400) if versions else ({}, EDITED, BRIEF)
        script = [retrain(at, *given, versions=versions)]
        yield name, scenario({"gate": gate}, network=STACK, script=script, labels=labels)
    tokens = {
        "layers": [
            {"type": "embedding", "count": 7, "features": 3},
            {"type": "flatten"},
            {"type": "linear", "features": 6},
        ]
    }
    grown = retrain(SHIFT, {"type": "grow_embedding", "layer": "embedding1", "count": 12})
    yield "grow_embedding", scenario(network=tokens, stream="tokens", script=[grown], labels=SHIFT + 100)
    own: dict[str, list[dict[str, Any]]] = {
        "widen": [{"type": "widen", "layer": "features.0.0", "features": 5}],
        "insert": [{"type": "insert", "after": "features.4", "layer": {"type": "linear", "features": 6}}],
        "merge": [{"type": "merge", "layers": ["features.0.0", "features.0.1"]}],
        "prune and remove": [
            {"type": "prune", "layer": "features.0.0", "fraction": 0.4},
            {"type": "remove", "layer": "act"},
        ],
        "adapter and freeze": [
            {"type": "adapter", "rank": 2, "layers": ["gate"]},
            {"type": "freeze", "layers": ["features.0"]},
        ],
        "activation": [{"type": "activation", "to": "gelu", "layer": "act", "blend": 40}],
        "concatenate": [
            {"type": "concatenate", "branch": [{"type": "flatten"}, {"type": "linear", "features": 2}]},
            {"type": "replace_head"},
        ],
    }
    for name, given in own.items():
        yield (
            f"own module: {name}",
            scenario(
                stream="images", network={"factory": HERE + "gated"}, script=[retrain(EDITED, *given)], labels=BRIEF
            ),
        )
    several = [
        retrain(EDITED, *layered["widen"]),
        retrain(160, *layered["concatenate"], *layered["replace_head"]),
        retrain(220, *layered["adapter"], recipe={"optimizer": {"name": "sgd", "momentum": 0.9}}),
    ]
    averaged = REPLAY | {"averaging": {"name": "ema"}}
    yield "one after the other", scenario(network=STACK, script=several, base=averaged, labels=FEW)
    yield (
        "with experts",
        scenario(
            {"strategy": {"name": "experts", "replayed": 32}},
            network=STACK,
            script=[retrain(EDITED, *layered["remove_classes"], *layered["prune"])],
            labels=BRIEF,
        ),
    )


def gates() -> Iterator[tuple[str, Scenario]]:
    for mode in ("auto", "canary", "off"):
        gate = {"mode": mode, "holdout": 0.15, "holdout_size": 120, "labels": 20, "share": 0.3}
        yield mode, scenario({"gate": gate}, labels=FEW if mode == "off" else LABELS)
        yield (
            f"{mode}, that fails",
            scenario({"gate": gate, "optimizer": {"learning_rate": 3.0, "clip": None}}, labels=FEW),
        )
    promotes = [{"at": at, "do": "promote"} for at in (50, 100, 150, 250)]
    yield "manual", scenario({"gate": {"mode": "manual"}}, script=[*promotes, retrain(180)], labels=FEW)
    yield "canary, regression", scenario({"gate": {"mode": "canary", "labels": 20}}, labels=FEW, task="values")


def classes() -> Iterator[tuple[str, Scenario]]:
    experts = {"strategy": {"name": "experts", "replayed": 32}}
    yield "open", scenario(task="open", labels=LATE_CLASS + 100)
    yield "open, experts", scenario(experts, task="open", labels=LATE_CLASS + 100)
    yield (
        "open, ewc and ema",
        scenario({"strategy": {"name": "ewc", "every": 128}, "averaging": "ema"}, task="open", labels=FEW),
    )
    yield "open, der", scenario({"strategy": "der"}, task="open", labels=FEW)
    removes = [retrain(180, {"type": "remove_classes", "classes": ["b"]})]
    yield "open, removed", scenario(task="open", script=removes, labels=FEW)
    back = [*removes, {"at": 240, "do": "rollback", "version": 3}]
    yield "open, removed and rolled back", scenario(experts, task="open", script=back, labels=FEW)
    closed = [retrain(EDITED, {"type": "remove_classes", "classes": [1]}), {"at": 200, "do": "rollback", "version": 2}]
    yield "removed", scenario({"loss": {"name": "cross_entropy", "weights": [1, 2, 3]}}, script=closed, labels=FEW)


def jobs() -> Iterator[tuple[str, Scenario]]:
    for name, given in _jobs():
        yield name, given | {"labels": FEW}


def _jobs() -> Iterator[tuple[str, Scenario]]:
    entries = [{"batch_size": 8}, {"optimizer": {"learning_rate": 0.1}}, {"loss": "focal"}]
    yield "race", scenario(script=[retrain(EDITED, race=entries, epochs=3, promoted=False)])
    edited = [
        {"edits": [{"type": "widen", "layer": "linear1", "features": 14}]},
        {"recipe": {"strategy": "finetune"}},
        {},
    ]
    yield "race with edits", scenario(network=STACK, script=[retrain(EDITED, race=edited, epochs=2)])
    yield "race, regression", scenario(task="values", script=[retrain(EDITED, race=entries[:2], epochs=2)])
    find = {"optimizer": {"learning_rate": "find"}}
    yield "rate found", scenario(script=[retrain(EDITED, recipe=find, epochs=2)])
    yield "job under way at the end", scenario(script=[retrain(220, race=entries, epochs=60)])
    yield "job cancelled", scenario(script=[retrain(EDITED, epochs=60), {"at": 180, "do": "cancel"}])
    yield "judged by the gate", scenario(script=[retrain(EDITED, epochs=3, promoted=False)])
    other = {"strategy": {"name": "experts"}, "distillation": {"weight": 1.0}}
    yield "job with another strategy", scenario(script=[retrain(EDITED, recipe=other)])
    experts = {"strategy": {"name": "experts", "replayed": 32}}
    yield "job with experts", scenario(experts, script=[retrain(EDITED, recipe={"optimizer": {"learning_rate": 0.02}})])
    rollbacks = [{"at": 200, "do": "rollback", "version": 2}, {"at": 240, "do": "rollback", "version": 1}]
    yield "rollback", scenario(script=rollbacks)
    yield "rollback, experts", scenario(experts, script=rollbacks)
    yield "rollback, experts, regression", scenario(experts, script=rollbacks, task="values")
    yield "rollback during a job", scenario(script=[retrain(180, epochs=60), *rollbacks])


def fields() -> Iterator[tuple[str, Scenario]]:
    edited = retrain(
        EDITED, {"type": "rename_field", "field": "size", "to": "length"}, {"type": "drop_field", "field": "made"}
    )
    kinds = ("boolean", "category", "ignore", "text", "time", {"type": "tensor", "shape": [2]})
    more = [{"type": "add_field", "name": f"more {place}", "field": kind} for place, kind in enumerate(kinds)]
    added = retrain(EDITED, {"type": "add_field", "name": "weight", "field": "number"}, *more)
    yield "renamed and dropped", scenario(stream="fields", script=[edited], labels=BRIEF)
    yield "added", scenario(stream="fields", script=[added], labels=BRIEF)
    yield "experts", scenario({"strategy": "experts"}, stream="fields", task="open", labels=FEW)
    yield "regression", scenario(stream="fields", task="values", labels=FEW)
    yield "experts, regression", scenario({"strategy": "experts"}, stream="fields", task="values", labels=SHIFT + 100)


def tasks() -> Iterator[tuple[str, Scenario]]:
    rollback = {"at": 200, "do": "rollback", "version": 2}
    yield "intervals", scenario(labels=FEW, task="intervals", script=[retrain(100), rollback])
    yield "several outputs", scenario(labels=FEW, task="outputs", script=[retrain(100), rollback])
    yield "several outputs of fields", scenario(labels=FEW, task="outputs", stream="fields")
    yield "multilabel", scenario(labels=FEW, task="labels", script=[retrain(100), rollback])
    yield "multilabel of fields", scenario(labels=FEW, task="labels", stream="fields")


def types() -> Iterator[tuple[str, Scenario]]:
    for dtype in ("uint8", "float16", "bfloat16"):
        yield dtype, scenario(labels=BRIEF, stream=dtype)
    tokens = {"layers": [{"type": "embedding", "count": 9, "features": 3}, {"type": "flatten"}]}
    yield "int32", scenario(labels=BRIEF, stream="int32", network=tokens)
    precise = scenario(labels=BRIEF)
    yield "precision bf16", {**precise, "spec": {**precise["spec"], "precision": "bf16"}, "is_stable": False}


def labellers() -> Iterator[tuple[str, Scenario]]:
    given = {"kept": {}, "told of": {"mode": "tell"}, "bounded": {"hold": 50, "share": 0.4}}
    for name, trust in given.items():
        yield name, scenario({"trust": trust}, script=restarts(200)) | {"labellers": 4}


GROUPS = {
    "strategies": strategies,
    "edits": edits,
    "hooks": hooks,
    "losses": losses,
    "optimizers": optimizers,
    "memories": memories,
    "drift": drift,
    "gates": gates,
    "classes": classes,
    "jobs": jobs,
    "networks": networks,
    "fields": fields,
    "tasks": tasks,
    "types": types,
    "labellers": labellers,
}


RESTARTED = {
    "strategies": [
        "agem",
        "der",
        "ewc",
        "experts",
        "gdumb",
        "lwf",
        "by default, regression",
        "one after the other",
        "replay, balanced",
    ],
    "hooks": ["swa", "all at once"],
    "edits": ["one after the other", "activation, blended", "own module: prune and remove"],
    "gates": ["canary", "manual", "auto, that fails"],
    "classes": ["open, experts", "open, removed and rolled back"],
    "jobs": ["race", "job under way at the end"],
    "drift": ["adwin", "kswin", "on_alarm retrain"],
    "optimizers": ["schedule plateau"],
    "fields": ["experts", "renamed and dropped", "added"],
    "tasks": ["intervals", "several outputs", "multilabel"],
}
"""Which of them, by group, go on from files as well, again and again."""
RESTARTS = (125, 165, 240, 320, 390, 430)


def of_group(group: str) -> dict[str, Scenario]:
    """The scenarios of a group, by their whole names."""
    again = RESTARTED.get(group, [])
    return {
        f"{group}: {name}": given
        | {"restarts": [at for at in RESTARTS if name in again and at <= given["labels"] - 50]}
        for name, given in GROUPS[group]()
    }


def every() -> dict[str, Scenario]:
    """All scenarios by name, ``group: name``."""
    return {name: given for group in GROUPS for name, given in of_group(group).items()}
