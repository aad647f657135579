"""What a scenario is made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.golden.streams import shape_of

Scenario = dict[str, Any]
BRIEF, FEW, LABELS = 180, 300, 500
"""How many labels a scenario has: as many as a part takes to show, up to the drift, or beyond it."""
EDITED = 100
"""When a brief scenario does what it is about: a version and a job are there, and the labels that follow go through them."""
HERE = "tests.golden.networks:"
SMALL = {"preset": "mlp", "hidden": [8]}
STACK = {
    "layers": [
        {"type": "linear", "features": 10},
        {"type": "batch_norm"},
        {"type": "relu"},
        {"type": "linear", "features": 8},
        {"type": "linear", "features": 8},
        {"type": "relu"},
    ]
}
TASK_OF = {"labels": "multilabel", "values": "regression", "intervals": "regression", "outputs": "regression"}
QUICK = {"name": "adamw", "learning_rate": 0.03}
REPLAY = {"strategy": {"name": "replay", "replayed": 32}, "optimizer": QUICK, "memory": {"size": 150}, "updates": 6}


def scenario(
    recipe: Mapping[str, Any] | None = None,
    *,
    labels: int = LABELS,
    stream: str = "rows",
    task: str = "classes",
    network: Mapping[str, Any] = SMALL,
    script: list[dict[str, Any]] | None = None,
    base: Mapping[str, Any] = REPLAY,
) -> Scenario:
    """A scenario over a recipe that is merged over ``base``.

    ``restarts`` are labels after which it goes on from files as well, which must change nothing. What is not ``is_stable`` is
    compared only on the build that it was recorded on.
    """
    classes: dict[str, dict[str, Any]] = {
        "classes": {"classes": [0, 1, 2]},
        "open": {"classes": "open"},
        "labels": {"classes": ["a", "b", "c"]},
        "values": {},
        "intervals": {"intervals": [0.1, 0.9]},
        "outputs": {"outputs": ["near", "far"], "intervals": [0.1, 0.9]},
    }
    spec = {
        "name": "m",
        "task": TASK_OF.get(task, "classification"),
        "inputs": shape_of(stream),
        "network": dict(network),
        "recipe": {**base, **(recipe or {})},
        **classes[task],
    }
    factories = [part for part in (network.get("factory"), _function(recipe)) if part]
    found: Scenario = {"spec": spec, "stream": stream, "task": task, "labels": labels, "factories": factories}
    return {**found, "script": script or [], "restarts": [], "is_stable": True}


def _function(recipe: Mapping[str, Any] | None) -> str | None:
    loss = (recipe or {}).get("loss")
    return loss.get("function") if isinstance(loss, dict) else None


def retrain(at: int, *edits: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"at": at, "do": "retrain", "edits": list(edits), **more}


def restarts(*at: int) -> list[dict[str, Any]]:
    return [{"at": each, "do": "restart"} for each in at]
