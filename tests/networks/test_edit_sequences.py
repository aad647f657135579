"""Edits of random networks, in any order: the spec builds what the edit made, and an edit that says so keeps the function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from driftline.errors import InvalidInput
from driftline.networks.build import build
from driftline.networks.edit_session import EditResult, EditSession, Sources
from driftline.networks.edits import apply_all, apply_edit
from driftline.networks.model import Model
from driftline.spec import ModelSpec, parse
from driftline.spec.parts.edits import EDITS, parse_edits
from driftline.spec.parts.edits.layers import SwapActivation
from tests.networks.checks import FACTORY, check_function, check_spec, disturb, rows

ACTIVATIONS = ["relu", "gelu", "tanh", "prelu", "elu", "silu"]


@st.composite
def stacks(draw: st.DrawFn, is_image: bool) -> list[dict[str, Any]]:
    """Layers of a small network."""
    layers: list[dict[str, Any]] = []
    for _ in range(draw(st.integers(0, 2)) if is_image else 0):
        layers.append(
            {"type": "conv2d", "channels": draw(st.integers(1, 4)), "kernel": draw(st.sampled_from([1, 2, 3]))}
        )
        layers += draw(followers())
    if is_image and layers:
        layers += draw(st.sampled_from([[{"type": "max_pool"}], [{"type": "average_pool"}], []]))
    if is_image:
        layers.append({"type": "flatten"})
    for _ in range(draw(st.integers(0, 3))):
        layers.append({"type": "linear", "features": draw(st.integers(1, 6)), "bias": draw(st.booleans())})
        layers += draw(followers())
    return layers


@st.composite
def followers(draw: st.DrawFn) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [{"type": "batch_norm"}] if draw(st.booleans()) else []
    return found + draw(st.sampled_from([[], *([{"type": name}] for name in ACTIVATIONS), [{"type": "dropout"}]]))


INPUTS: dict[str, Any] = {
    "row": {"shape": [5]},
    "image": {"shape": [4, 4]},
    "channels": {"shape": [2, 4, 4]},
    "named": {"user": {"shape": [2]}, "item": {"shape": [3]}},
}


@st.composite
def models(draw: st.DrawFn) -> Model:
    """A model whose weights and running statistics are those of one that has learned."""
    kind = draw(st.sampled_from(sorted(INPUTS)))
    network: dict[str, Any] = {"layers": draw(stacks(kind in ("image", "channels")))}
    if kind == "channels" and draw(st.booleans()):
        network = {"factory": FACTORY}
    classes = draw(st.sampled_from([None, ["a", "b", "c"], "open"]))
    found = parse(
        ModelSpec,
        {
            "name": "m",
            "task": "classification" if classes else "regression",
            "inputs": INPUTS[kind],
            "network": network,
            "recipe": {"strategy": "replay"},
            **({"classes": classes} if classes else {}),
        },
    )
    known: list[int | str] = ["a", "b", "c"] if classes else []
    module = build(found, known, factories=[FACTORY], seed=draw(st.integers(0, 99)))
    disturb(module)
    return Model(found, known, module)


def names(model: Model) -> list[str]:
    return EditSession(model).structure.names


def two(model: Model, draw: Callable[[Any], Any]) -> list[str]:
    found = names(model)
    at = draw(st.integers(0, max(0, len(found) - 2)))
    return found[at : at + 2]


@st.composite
def edits(draw: st.DrawFn, model: Model) -> dict[str, Any]:
    """An edit with names that the model has; it need not fit."""
    found = names(model) or ["none"]
    layer = draw(st.sampled_from(found))
    layers = draw(st.one_of(st.none(), st.lists(st.sampled_from(found), min_size=1, max_size=2)))
    kind = draw(st.sampled_from(sorted(EDITS.parts)))
    new = draw(
        st.sampled_from(
            [
                {"type": "linear", "features": draw(st.integers(1, 6))},
                {"type": "conv2d", "channels": draw(st.integers(1, 4)), "kernel": draw(st.sampled_from([1, 2, 3]))},
                *({"type": name} for name in ("batch_norm", "dropout", "prelu", "relu", "layer_norm")),
            ]
        )
    )
    parameters: dict[str, dict[str, Any]] = {
        "activation": {
            "to": draw(st.sampled_from(ACTIVATIONS)),
            "layer": draw(st.sampled_from([None, layer])),
            "blend": draw(st.sampled_from([None, 10])),
        },
        "adapter": {"rank": draw(st.integers(1, 2)), "layers": layers},
        "add_classes": {"classes": draw(st.lists(st.sampled_from(["d", "e", 1]), min_size=1, max_size=2, unique=True))},
        "average": {"versions": [1, 2]},
        "add_field": {"name": "other", "field": "number"},
        "drop_field": {"field": layer},
        "rename_field": {"field": layer, "to": "other"},
        "concatenate": {"branch": [{"type": "flatten"}, {"type": "linear", "features": draw(st.integers(1, 3))}]},
        "freeze": {"layers": layers},
        "grow_embedding": {"layer": layer, "count": draw(st.integers(2, 9))},
        "insert": {"after": draw(st.sampled_from([None, layer])), "layer": new},
        "merge": {"layers": two(model, draw) if len(found) > 1 else [layer, layer]},
        "merge_adapters": {},
        "merge_units": {"layer": layer},
        "prune": {"layer": layer, "fraction": draw(st.sampled_from([0.3, 0.6]))},
        "reinitialise": {"layers": layers, "units": draw(st.sampled_from([None, "dead"]))},
        "remove": {"layer": layer},
        "remove_classes": {"classes": [draw(st.sampled_from(["a", "b", "d"]))]},
        "replace_head": {},
        "shrink_and_perturb": {"layers": layers},
        "unfreeze": {"layers": layers},
        "widen": {"layer": layer, "features": draw(st.integers(2, 9))},
    }
    assert parameters.keys() == EDITS.parts.keys()
    return {"type": kind, **parameters[kind]}


@given(st.data())
@settings(max_examples=20)
def test_edits_in_any_order(data: st.DataObject) -> None:
    start = now = data.draw(models())
    sources = Sources(inputs=rows(start))
    done = []
    for _ in range(data.draw(st.integers(1, 5))):
        edit = data.draw(edits(now))
        state = {name: value.clone() for name, value in now.module.state_dict().items()}
        try:
            after = apply_all(parse_edits([edit]), now, sources)
        except InvalidInput as error:
            assert error.message.startswith(f"edits.0 ({edit['type']}): ")
            continue
        finally:
            assert all(torch.equal(value, state[name]) for name, value in now.module.state_dict().items())
        check_spec(after)
        check_function(now, after)
        check_parameter_map(now, after)
        now = after.model
        done.append(edit)
    together = apply_all(parse_edits(done), start, sources)
    assert together.spec == now.spec and together.classes == now.classes
    assert torch.equal(together.module(rows(now)), now.module(rows(now)))
    check_parameter_map(start, together)


def check_parameter_map(before: Model, after: EditResult) -> None:
    """Every block has a place in both."""
    old, new = (dict(model.module.named_parameters()) for model in (before, after.model))
    with torch.no_grad():
        for block in after.parameter_map:
            block.copy(old[block.old], new[block.new].clone())


@pytest.mark.parametrize("seed", range(3))
def test_a_blend_goes_over_into_the_new_activation(seed: int) -> None:
    found = parse(
        ModelSpec,
        {
            "name": "m",
            "task": "regression",
            "inputs": {"shape": [3]},
            "network": {"layers": [{"type": "linear", "features": 4}, {"type": "relu"}]},
        },
    )
    before = Model(found, [], build(found, [], seed=seed))
    blended = apply_edit(SwapActivation(to="tanh", blend=4), before).module
    target = apply_edit(SwapActivation(to="tanh"), before).module
    data, apart = rows(before), []
    for _ in range(5):
        apart.append((blended.eval()(data) - target(data)).abs().max().item())
        blended.train()(data)
    assert apart == sorted(apart, reverse=True) and apart[0] > 0 and apart[-1] == 0
