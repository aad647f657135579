"""Specs and edits: what is taken has a price within the budget, is built, and answers."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import torch

from driftline.api.control import Retrain
from driftline.learning.retraining.dry_run import dry_run
from driftline.learning.retraining.plan import RetrainPlan
from driftline.networks.build import build
from driftline.networks.model import Model
from driftline.networks.price import ModelBudget
from driftline.networks.sequential import example_rows
from driftline.spec import ModelSpec, parse
from driftline.spec.based import BasedSpec, is_based
from driftline.support import json_text
from tests.services import spec

BUDGET = ModelBudget(layers=40, edits=10, classes=50, answer_bytes=2**16, tensors=300, parameters=2**17, bytes=2**20)
"""So small that each that is taken is built at once."""


def read_spec(data: bytes) -> None:
    """A spec that is taken is told as it was, can be built, and its network answers a row."""
    body = json_text.loads(data)
    if is_based(body):
        parse(BasedSpec, body)
        return
    found = parse(ModelSpec, body)
    assert parse(ModelSpec, found.model_dump(mode="json")) == found
    classes = found.known_classes()
    BUDGET.check_spec(found, classes)
    module = build(found, classes, factories=(), seed=0)
    BUDGET.check_module(module)
    with torch.no_grad():
        answer = module.eval()(example_rows(found))
    assert answer.shape[-1] == found.width(len(classes))


@cache
def before() -> Model:
    layers: list[dict[str, Any]] = [
        {"type": "linear", "features": 6, "name": "first"},
        {"type": "batch_norm"},
        {"type": "relu"},
        {"type": "linear", "features": 4},
        {"type": "relu"},
    ]
    found = parse(ModelSpec, spec(inputs={"shape": [5]}, classes=["a", "b", "c"], network={"layers": layers}))
    return Model(found, ["a", "b", "c"], build(found, ["a", "b", "c"], seed=0))


def read_retrain(data: bytes) -> None:
    """A retrain that is taken gives a network that answers, and what it would cost."""
    body = parse(Retrain, json_text.loads(data))
    plan = RetrainPlan.of(before().spec, body.recipe, body.edits, body.race)
    found = dry_run(before(), plan, body.epochs, 1000, (), budget=BUDGET)
    json.dumps(found, allow_nan=False)


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


IMAGE = {
    "layers": [
        {"type": "conv2d", "channels": 3, "kernel": 2},
        {"type": "batch_norm"},
        {"type": "max_pool"},
        {"type": "flatten"},
        {"type": "linear", "features": 5, "bias": False},
        {"type": "dropout"},
    ]
}
SPEC_SEEDS = [
    _json(spec()),
    _json(spec(classes="open", network={"preset": "mlp"})),
    _json(spec(inputs={"shape": [1, 4, 4]}, network=IMAGE)),
    _json(spec(inputs={"fields": {"age": "number", "city": {"type": "category"}, "note": "text"}})),
    _json(
        spec(
            inputs={"user": {"shape": [2]}, "item": {"shape": [3]}},
            network={"branches": {"branch1": [{"type": "linear", "features": 3}]}, "layers": [{"type": "relu"}]},
        )
    ),
    _json(
        {
            "name": "m",
            "task": "regression",
            "inputs": {"shape": [2]},
            "intervals": [0.1, 0.9],
            "recipe": {"strategy": "replay", "optimizer": {"name": "adam", "learning_rate": 0.01}},
        }
    ),
    _json(spec(task="multilabel", classes=["a", "b"], serving={"max_batch": 8}, recipe={"batch_size": 4, "gate": {}})),
    _json({"name": "m", "network": {"base": "other", "adapter": {"rank": 2}}}),
]
RETRAIN_SEEDS = [
    _json({"edits": [{"type": "widen", "layer": "first", "features": 9}], "dry_run": True}),
    _json({"edits": [{"type": "prune", "layer": "first", "fraction": 0.3}, {"type": "freeze", "layers": ["first"]}]}),
    _json({"edits": [{"type": "insert", "after": "relu2", "layer": {"type": "linear", "features": 4}}]}),
    _json(
        {"edits": [{"type": "adapter", "rank": 2}, {"type": "merge_adapters"}, {"type": "remove", "layer": "relu2"}]}
    ),
    _json({"edits": [{"type": "activation", "layer": "relu1", "to": "gelu"}], "recipe": {"batch_size": 8}}),
    _json({"race": [{"optimizer": {"learning_rate": 0.1}}, {"recipe": {"batch_size": 4}, "edits": []}], "epochs": 2}),
]
