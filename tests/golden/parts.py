"""Scenarios of what a recipe and a network are made of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.golden.scenario import BRIEF, EDITED, FEW, HERE, QUICK, STACK, Scenario, retrain, scenario
from tests.golden.streams import SHIFT


def hooks() -> Iterator[tuple[str, Scenario]]:
    yield "ema", scenario({"averaging": {"name": "ema", "decay": 0.9}}, labels=BRIEF)
    yield "swa", scenario({"averaging": {"name": "swa", "every": 64, "most": 5}})
    yield "l2_sp, champion", scenario({"l2_sp": {"strength": 0.1}}, labels=BRIEF)
    change = {"at": EDITED, "do": "recipe", "recipe": {"l2_sp": {"version": 2, "strength": 0.2}}, "versions": [2]}
    yield "l2_sp, version", scenario(script=[change], labels=BRIEF)
    yield "max_norm", scenario({"max_norm": {"limit": 0.8}}, labels=BRIEF)
    yield "refresh", scenario({"refresh": {"rate": 0.02, "maturity": 10, "every": 4}})
    yield "shrink_and_perturb", scenario({"shrink_and_perturb": {"shrink": 0.6, "noise": 0.1}})
    broken = {"name": "sgd", "learning_rate": 60.0, "clip": None}
    for name in ("repair", "refuse"):
        # What comes of weights that break, again and again, is another thing on another machine.
        given = scenario({"sanitize": name, "optimizer": broken, "gate": {"mode": "off"}}, task="values", labels=FEW)
        yield f"sanitize {name}", {**given, "is_stable": False}
    yield (
        "all at once",
        scenario(
            {
                "averaging": "ema",
                "l2_sp": {},
                "max_norm": {},
                "refresh": {"rate": 0.01, "maturity": 10},
                "shrink_and_perturb": {},
                "sanitize": "repair",
                "distillation": {},
            },
            network=STACK,
            script=[retrain(400, {"type": "widen", "layer": "linear1", "features": 12})],
        ),
    )
    yield "distillation", scenario({"distillation": {"weight": 0.5, "temperature": 3.0}}, labels=BRIEF)


def losses() -> Iterator[tuple[str, Scenario]]:
    given: dict[str, dict[str, Any]] = {
        "bce": {},
        "class_balanced": {"beta": 0.99},
        "cross_entropy": {"smoothing": 0.1, "weights": [1, 2, 3]},
        "focal": {},
        "generalized_cross_entropy": {},
        "hinge": {},
        "logit_adjusted": {},
        "symmetric_cross_entropy": {},
        "custom": {"function": HERE + "softened", "arguments": {"softness": 0.2}},
    }
    for name, parameters in given.items():
        yield name, scenario({"loss": {"name": name, **parameters}}, labels=BRIEF)
    yield (
        "custom, that fails at times",
        scenario({"loss": {"name": "custom", "function": HERE + "brittle"}}, labels=BRIEF),
    )
    values: dict[str, dict[str, Any]] = {"huber": {"delta": 0.5}, "mae": {}, "mse": {}, "quantile": {"quantile": 0.8}}
    for name, parameters in values.items():
        yield name, scenario({"loss": {"name": name, **parameters}}, labels=BRIEF, task="values")


def optimizers() -> Iterator[tuple[str, Scenario]]:
    rates = {"adadelta": 1.0, "sgd": 0.05, "rprop": 0.001, "adagrad": 0.05, "asgd": 0.05}
    names = ("adadelta", "adagrad", "adam", "adamax", "adamw", "asgd", "nadam", "radam", "rmsprop", "rprop", "sgd")
    for name in names:
        yield name, scenario({"optimizer": {"name": name, "learning_rate": rates.get(name, 0.01)}}, labels=BRIEF)
    momentum = {
        "name": "sgd",
        "learning_rate": 0.05,
        "momentum": 0.9,
        "nesterov": True,
        "weight_decay": 0.01,
        "clip": 1.0,
    }
    yield "sgd, with all that it has", scenario({"optimizer": momentum}, labels=BRIEF)
    layers = QUICK | {"layers": {"linear1": 0.1, "linear2": 0}, "discriminative": 0.5}
    yield "rates of layers", scenario({"optimizer": layers}, labels=BRIEF, network=STACK)
    schedules: dict[str, dict[str, Any]] = {
        "constant": {},
        "plateau": {"labels": 60},
        "warm_restart": {"labels": 80},
        "warmup": {"labels": 100},
    }
    for name, parameters in schedules.items():
        given = QUICK | {"schedule": {"name": name, **parameters}}
        yield f"schedule {name}", scenario({"optimizer": given}, labels=480 if name == "plateau" else BRIEF)


def memories() -> Iterator[tuple[str, Scenario]]:
    for name in ("balanced", "fifo", "reservoir"):
        yield name, scenario({"memory": {"name": name, "size": 100}}, labels=BRIEF)
        yield f"{name}, open", scenario({"memory": {"name": name, "size": 60}}, labels=FEW, task="open")


def drift() -> Iterator[tuple[str, Scenario]]:
    given: dict[str, dict[str, Any]] = {
        "adwin": {},
        "ddm": {"threshold": 2.0},
        "eddm": {},
        "hddm_a": {"confidence": 0.01},
        "hddm_w": {"confidence": 0.01},
        "kswin": {"alpha": 0.001},
        "none": {},
        "page_hinkley": {"threshold": 10.0},
    }
    for name, parameters in given.items():
        yield name, scenario({"detector": {"name": name, **parameters}, "on_alarm": "shorten"})
    for answer in ("tell", "faster", "shorten", "retrain"):
        yield f"on_alarm {answer}", scenario({"on_alarm": answer, "updates": 5})
    inputs = {"reference": 100, "recent": 50, "alpha": 0.001, "embedding": True, "answered": True}
    yield "inputs, answered", scenario({"input_detector": inputs, "on_alarm": "shorten"}, labels=SHIFT + 150)
    yield "inputs, without", scenario({"input_detector": None}, labels=BRIEF)


def networks() -> Iterator[tuple[str, Scenario]]:
    first = ["conv2d", "batch_norm", "relu", "silu", "average_pool", "flatten", "linear"]
    then = ["layer_norm", "gelu", "elu", "leaky_relu", "prelu", "sigmoid", "softplus", "tanh", "dropout"]
    needed: dict[str, Any] = {
        "conv2d": {"channels": 3, "padding": "valid", "kernel": 2, "adapter": {"rank": 1}},
        "linear": {"features": 12},
        "dropout": {"share": 0.1},
        "elu": {"blend": None},
    }
    layers = [{"type": name, **needed.get(name, {})} for name in [*first, *then]]
    reshaped = [{"type": "reshape", "shape": [4, 3]}, {"type": "flatten"}]
    yield "every layer", scenario(stream="images", network={"layers": [*layers, *reshaped]}, labels=BRIEF)
    tokens = {"layers": [{"type": "embedding", "count": 7, "features": 3}, {"type": "flatten"}]}
    yield "embedding", scenario(stream="tokens", network=tokens, labels=BRIEF)
    branches = {"branches": {"branch1": [{"type": "linear", "features": 3}, {"type": "tanh"}]}}
    yield "branches", scenario(network={**STACK, **branches}, labels=BRIEF)
    pooled = [{"type": "conv2d", "channels": 3}, {"type": "max_pool"}, {"type": "relu"}, {"type": "flatten"}]
    yield "pooled", scenario(stream="images", network={"layers": pooled}, labels=BRIEF)
    yield "cnn", scenario(stream="images", network={"preset": "cnn", "channels": [3]}, labels=BRIEF)
    yield "own module", scenario(network={"factory": HERE + "plain", "arguments": {"features": 6}}, labels=BRIEF)
    towers = {"factory": HERE + "towers", "arguments": {"users": 9}}
    yield "own module, inputs by name", scenario(stream="pairs", network=towers, labels=BRIEF)
    yield (
        "own module, inputs by name, regression",
        scenario(stream="pairs", network=towers, task="values", labels=BRIEF),
    )
    narrow = [{"type": "linear", "features": 3}]
    yield "output of its own", scenario(network={"layers": narrow, "output": "own"}, labels=BRIEF)
