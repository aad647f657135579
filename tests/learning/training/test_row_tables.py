"""Tables with a sparse gradient: an update changes the rows of its batch alone, and is what a dense one would be there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from driftline.errors import InvalidInput
from driftline.learning.learner import Learner
from driftline.learning.network_trial import check_network
from driftline.learning.training.optimizers import TORCH_NAMES, OptimizerFactory
from driftline.learning.training.row_optimizers import ROW_UPDATES
from driftline.networks.edits import apply_all
from driftline.networks.row_table import RowTable
from driftline.records import Item
from driftline.spec import parse
from driftline.spec.parts.edits import parse_edits
from driftline.spec.parts.optimizer import Optimizer
from driftline.spec.parts.strategies import STRATEGIES
from tests.learning.conftest import assert_same, play, restored, spec
from tests.learning.test_levers import LEVERS

COUNT, FEATURES = 12, 4
EMBEDDING: dict[str, Any] = {"type": "embedding", "count": COUNT, "features": FEATURES, "sparse": True}
LAYERS: list[dict[str, Any]] = [
    EMBEDDING,
    {"type": "flatten"},
    {"type": "linear", "features": 5},
    {"type": "relu"},
]
BAGS = "tests.networks.factories:bags"


def made(recipe: dict[str, Any] | None = None, layers: Sequence[dict[str, Any]] = LAYERS) -> Learner:
    whole = {"strategy": "replay", "gate": {"mode": "off", "holdout": 0}, **(recipe or {})}
    ids = {"shape": [2], "dtype": "int64"}
    return Learner.create(spec(inputs=ids, network={"layers": list(layers)}, recipe=whole), seed=3)


def items(ids: Sequence[Sequence[int]], first: int = 0) -> list[Item]:
    return [
        Item(f"i{first + n}", {"inputs": np.array(row, np.int64).tobytes()}, row[0] % 2) for n, row in enumerate(ids)
    ]


def drawn(count: int, seed: int, below: int = 6) -> list[Item]:
    return items(np.random.default_rng(seed).integers(0, below, (count, 2)).tolist(), 1000 * seed)


def table(learner: Learner) -> RowTable:
    found = learner.module.network.get_submodule("embedding1")
    assert isinstance(found, RowTable)
    return found


@pytest.mark.parametrize(
    "recipe", [{"name": name, "weight_decay": w} for name in ROW_UPDATES for w in (0.0, 0.1)], ids=str
)
def test_a_row_that_is_in_every_batch_follows_the_dense_optimizer(recipe: dict[str, Any]) -> None:
    torch.manual_seed(0)
    sparse, dense = nn.Embedding(COUNT, FEATURES, sparse=True), nn.Embedding(COUNT, FEATURES)
    dense.load_state_dict(sparse.state_dict())
    factory = OptimizerFactory(parse(Optimizer, {"learning_rate": 0.1, **recipe}))
    optimizers = [factory.build(each) for each in (sparse, dense)]
    before, rows = sparse.weight.detach().clone(), torch.tensor([1, 4, 1, 7])
    for _ in range(6):
        for layer, optimizer in zip((sparse, dense), optimizers, strict=True):
            optimizer.zero_grad()
            (layer(rows) ** 2).sum().backward()
            optimizer.step()
    come = [1, 4, 7]
    torch.testing.assert_close(sparse.weight[come], dense.weight[come], atol=1e-6, rtol=1e-5)
    others = [row for row in range(COUNT) if row not in come]
    assert torch.equal(sparse.weight[others], before[others])


def test_the_first_step_of_a_row_is_as_large_whenever_it_comes() -> None:
    layer = nn.Embedding(3, 2, sparse=True)
    optimizer = OptimizerFactory(parse(Optimizer, {"name": "adam", "learning_rate": 0.01})).build(layer)
    before = layer.weight.detach().clone()
    for row in [*[0] * 50, 1]:
        optimizer.zero_grad()
        layer(torch.tensor([row])).sum().backward()
        optimizer.step()
    torch.testing.assert_close(before[1] - layer.weight[1], torch.full((2,), 0.01))


ALL_LEVERS: dict[str, dict[str, Any]] = {
    **{name: lever for name, lever in LEVERS.items() if not name.startswith("all")},
    **{f"optimizer {name}": {"optimizer": {"name": name}} for name in TORCH_NAMES},
    **{f"strategy {name}": {"strategy": name} for name in STRATEGIES.parts},
    "momentum": {"optimizer": {"name": "sgd", "momentum": 0.9}},
    "clip": {"optimizer": {"clip": 1e-3}},
    "weight decay": {"optimizer": {"weight_decay": 0.1}},
    **{f"gate {mode}": {"gate": {"mode": mode}} for mode in ("auto", "canary", "manual")},
}
REFUSED = {
    "nesterov": "recipe.optimizer.momentum",
    "momentum": "recipe.optimizer.momentum",
    "ema": "recipe.averaging",
    "swa": "recipe.averaging",
    "l2_sp": "recipe.l2_sp",
    "max_norm": "recipe.max_norm",
    "strategy ewc": "recipe.strategy",
    **{f"optimizer {name}": "recipe.optimizer" for name in TORCH_NAMES if name not in ROW_UPDATES},
}


@pytest.mark.parametrize("lever", ALL_LEVERS)
def test_each_lever_works_on_the_rows_of_a_batch_or_is_refused_by_name(lever: str) -> None:
    recipe = ALL_LEVERS[lever]
    if lever in REFUSED:
        with pytest.raises(InvalidInput) as refused:
            made(recipe)
        assert refused.value.details["field"] == REFUSED[lever]
        assert refused.value.message.startswith(REFUSED[lever]) and "layer 'embedding1'" in refused.value.message
        with pytest.raises(InvalidInput):
            made().change_recipe(recipe)
        return
    one = made(recipe)
    before = table(one).weight.detach().clone()
    play(one, drawn(48, 1), updates=2)
    # It goes on from a checkpoint bit for bit.
    other = restored(one)
    for each in (one, other):
        play(each, drawn(32, 2), updates=1)
    assert_same(one.state_dict(), other.state_dict())
    has_changed = (table(one).weight.detach() != before).any(1).tolist()
    is_learned = recipe.get("strategy") == "gdumb" or has_changed[:6] == [True] * 6
    assert is_learned and has_changed[6:-1] == [False] * (COUNT - 7)


def test_an_update_is_clipped_as_a_dense_one() -> None:
    found = []
    for is_sparse in (True, False):
        layers = [{**EMBEDDING, "sparse": is_sparse}, *LAYERS[1:]]
        one = made({"strategy": "finetune", "optimizer": {"name": "sgd", "learning_rate": 1.0, "clip": 1e-2}}, layers)
        if is_sparse:
            table(one).learned_at.fill_(0)
        play(one, drawn(16, 1), updates=3)
        found.append(one.module.get_parameter("network.embedding1.weight"))
    torch.testing.assert_close(found[0], found[1], atol=1e-6, rtol=0)


def answer(learner: Learner, row: Sequence[int]) -> Tensor:
    with torch.no_grad():
        return learner.module.eval()({"inputs": torch.tensor([row])})


def test_what_was_never_seen_is_answered_as_the_unknown_and_begins_there() -> None:
    one = made({"strategy": "finetune"})
    assert torch.equal(answer(one, [3, 7]), answer(one, [COUNT - 1, 999]))
    rows = table(one)
    before = rows.weight.detach().clone()
    play(one, items([[1, 2]]), updates=1)
    assert (rows.weight[-1] != before[-1]).all(), "what is new has taught the unknown"
    assert torch.equal(rows.weight[[1, 2]], rows.weight[[-1, -1]]), "and its own row begins there"
    assert torch.equal(answer(one, [1, 2]), answer(one, [8, 9]))
    unknown = rows.weight[-1].detach().clone()
    play(one, items([[1, 2]], 1), updates=1)
    assert torch.equal(rows.weight[-1], unknown) and (rows.weight[1] != unknown).all()


def test_a_row_that_has_not_come_for_long_is_unknown_again() -> None:
    one = made({"strategy": "finetune"}, [{**EMBEDDING, "expires": 20}, *LAYERS[1:]])
    play(one, items([[1, 2]] * 8), size=4, updates=1)
    assert not torch.equal(answer(one, [1, 1]), answer(one, [9, 9]))
    play(one, items([[3, 4]] * 24, 100), size=4, updates=1)
    assert torch.equal(answer(one, [1, 1]), answer(one, [9, 9]))
    assert not torch.equal(answer(one, [3, 3]), answer(one, [9, 9]))
    play(one, items([[1, 3]], 200), updates=1)
    rows = table(one)
    assert torch.equal(rows.weight[1], rows.weight[-1])
    known = one.course.state.optimizer_state()
    assert not known["network.embedding1.weight.updates"][1].any(), "nor does the optimizer know it"
    assert known["network.embedding1.weight.updates"][3].any()


def test_expiry_without_rows_is_refused() -> None:
    with pytest.raises(InvalidInput, match="expires is of a sparse embedding"):
        made(None, [{**EMBEDDING, "sparse": False, "expires": 5}, *LAYERS[1:]])


@pytest.mark.parametrize(
    "edit",
    [
        {"type": "grow_embedding", "layer": "embedding1", "count": 20},
        {"type": "widen", "layer": "linear1", "features": 7},
        {"type": "widen", "layer": "embedding1", "features": 6},
    ],
    ids=str,
)
def test_edits_keep_what_is_known_of_rows(edit: dict[str, Any]) -> None:
    one = made()
    play(one, drawn(48, 1), updates=2)
    state, known = one.course.state, dict(one.course.state.optimizer_state())
    before = state.module.eval()({"inputs": torch.tensor([[1, 2], [7, 999]])})
    one.course.replace(apply_all(parse_edits([edit]), state.model))
    now = state.optimizer_state()
    torch.testing.assert_close(state.module.eval()({"inputs": torch.tensor([[1, 2], [7, 999]])}), before)
    for quantity in ("updates", "exp_avg"):
        name = f"network.embedding1.weight.{quantity}"
        assert torch.equal(now[name][:6, :FEATURES], known[name][:6]) and known[name][:6].any()


def test_bags_of_a_users_own_network_learn_by_rows() -> None:
    ids = {"shape": [2], "dtype": "int64"}
    described = spec(inputs=ids, network={"factory": BAGS}, recipe={"strategy": "replay"})
    one = Learner.create(described, seed=3, factories=[BAGS])
    check_network(one.course.state.model, [BAGS])
    before = one.module.get_parameter("network.bag.weight").detach().clone()
    play(one, drawn(48, 1), updates=1)
    other = Learner.from_state(one.state_dict(), factories=[BAGS])
    for each in (one, other):
        play(each, drawn(32, 2), updates=1)
    assert_same(one.state_dict(), other.state_dict())
    has_changed = torch.ne(one.module.get_parameter("network.bag.weight"), before).any(1).tolist()
    assert has_changed == [True] * 6 + [False] * (COUNT - 6)


def test_weights_brought_along_are_of_rows_that_are_known() -> None:
    whole = made().module.state_dict()
    brought = {name: value for name, value in whole.items() if not name.endswith(("learned_at", "labels"))}
    described = spec(inputs={"shape": [2], "dtype": "int64"}, network={"layers": LAYERS}, recipe={"strategy": "replay"})
    one = Learner.create(described, seed=1, weights=brought)
    assert not torch.equal(answer(one, [3, 7]), answer(one, [4, 8]))
