"""Inputs of every type and of any length are kept as they came, served, learned, and written to a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch

from driftline.errors import InvalidInput
from driftline.ingest.rows import RowReader, json_type
from driftline.learning.learner import Learner
from driftline.learning.network_trial import check_network
from driftline.networks.input_tensors import input_tensors
from driftline.networks.model import Model
from driftline.records import Item, Plan
from driftline.rows.rows import Rows, item_as_json, misfits
from driftline.spec import ModelSpec, parse
from driftline.store.artifacts import Artifacts
from driftline.versions import START, VersionFiles
from tests.networks.pretrained_forms import FACTORIES

PLACE = "tests.networks.pretrained_forms"
IDS = {"shape": [None], "dtype": "int64", "mask": "attention_mask", "max_length": 12}
SQUARES = [[[0.5, -1.25], [3, 0]], [[1, 2], [-0.125, 4]], [[0, 0], [1, 1]]]
BYTES = [[[0, 255], [3, 0]], [[1, 2], [128, 4]], [[0, 0], [1, 1]]]
TOKENS = [[1, 2, 3], [4], [7, 8, 9, 10, 49]]


def own(factory: str, **arguments: Any) -> dict[str, Any]:
    return {"factory": f"{PLACE}:{factory}", "arguments": arguments, "output": "own"}


# inputs, network, rows as they are sent, and the type in which they are kept
CASES: dict[str, tuple[dict[str, Any], dict[str, Any], Any, torch.dtype]] = {
    "uint8 to a factory": ({"shape": [2, 2], "dtype": "uint8"}, own("pixels"), BYTES, torch.uint8),
    "uint8 to layers": ({"shape": [2, 2], "dtype": "uint8"}, {"preset": "mlp"}, BYTES, torch.uint8),
    "float16": ({"shape": [2, 2], "dtype": "float16"}, {"preset": "mlp"}, SQUARES, torch.float16),
    "bfloat16": ({"shape": [2, 2], "dtype": "bfloat16"}, {"preset": "mlp"}, SQUARES, torch.bfloat16),
    "int32": ({"shape": [2], "dtype": "int32"}, own("embedded"), [[1, 2], [3, 4]], torch.int32),
    "bfloat16 throughout": (
        {"shape": [2, 2], "dtype": "bfloat16"},
        own("half", dtype="bfloat16"),
        SQUARES,
        torch.bfloat16,
    ),
    "float32 to weights of bfloat16": ({"shape": [2, 2]}, own("half", dtype="bfloat16"), SQUARES, torch.float32),
    "bfloat16 to weights of float32": (
        {"shape": [2, 2], "dtype": "bfloat16"},
        own("half", dtype="float32"),
        SQUARES,
        torch.bfloat16,
    ),
    "sequences": ({"input_ids": IDS}, own("classifier"), {"input_ids": TOKENS}, torch.int64),
    "a sequence without a name": (
        {"shape": [None, 2], "dtype": "float16"},
        own("mean"),
        [[[1.5, 2]], [[0, 1], [2, 3], [4, 5]]],
        torch.float16,
    ),
}


def spec(inputs: dict[str, Any], network: dict[str, Any]) -> ModelSpec:
    given: dict[str, Any] = {"name": "m", "task": "classification", "classes": [0, 1, 2]}
    return parse(ModelSpec, given | {"inputs": inputs, "network": network})


def read(parsed: ModelSpec, rows: Any) -> Rows:
    kind = json_type(parsed, batched=True)
    return RowReader(parsed).batch(msgspec.json.decode(msgspec.json.encode(rows), type=kind))


def sent(rows: Any) -> list[Any]:
    """Rows one by one, as the log shows them."""
    if not isinstance(rows, dict):
        return list(rows)
    return [dict(zip(rows, row, strict=True)) for row in zip(*rows.values(), strict=True)]


@pytest.mark.parametrize("case", CASES)
def test_rows_are_kept_in_their_type_and_learned(case: str, tmp_path: Path) -> None:
    inputs, network, sent_rows, kept = CASES[case]
    parsed = spec(inputs, network)
    rows = read(parsed, sent_rows)
    items = [Item(str(n), rows.item(n % len(rows)), n % 3) for n in range(96)]
    assert [item_as_json(parsed, item.inputs) for item in items[: len(rows)]] == sent(sent_rows)
    assert misfits(parsed, [item.inputs for item in items]) == {}
    learner = Learner.create(parsed, seed=1, factories=FACTORIES)
    check_network(Model(learner.spec, learner.classes, learner.module), FACTORIES, rows)
    result = learner.learn(items, range(96), Plan(updates=4, publish=True, version=2))
    assert (result.quarantined, result.rejected) == ({}, {})
    name = next(iter(parsed.given_tensors))
    assert learner.replay_buffer.examples.inputs[name].dtype == kept
    assert len(next(iter(items[0].inputs.values()))) == rows.tensors[name][0].nbytes or "sequence" in case
    with torch.no_grad():
        outputs, _ = learner.served.eval().answer(input_tensors(parsed, rows.tensors))
    assert outputs.dtype == torch.float32 and torch.allclose(outputs.sum(1), torch.ones(len(rows)), atol=1e-3)
    files = VersionFiles(Artifacts(tmp_path), "ab")
    model = Model(learner.spec, learner.classes, learner.served)
    state = files.read(files.write_checkpoint(model, learner.state_dict(), START).manifest)[1]
    again = Learner.from_state(state, factories=FACTORIES)
    assert again.digest() == learner.digest()
    more = [Item(f"m{n}", item.inputs, item.label) for n, item in enumerate(items)]
    for each in (learner, again):
        each.learn(more, range(96, 192), Plan(updates=2))
    assert again.digest() == learner.digest()


def test_a_sequence_is_as_long_in_the_log_as_it_came_and_is_recorded_row_by_row() -> None:
    parsed = spec({"input_ids": IDS}, own("classifier"))
    rows = read(parsed, {"input_ids": TOKENS})
    assert [len(rows.item(row)["input_ids"]) for row in range(3)] == [24, 8, 40]
    assert rows.recorded() == {"input_ids": [rows.item(row)["input_ids"] for row in range(3)]}
    assert misfits(parsed, [{"input_ids": b"1234567"}, {"input_ids": bytes(8 * 13)}, {"other": b""}]).keys() == {
        0,
        1,
        2,
    }


def test_a_network_that_leaves_its_mask_out_of_account_is_named() -> None:
    parsed = spec({"input_ids": IDS}, own("classifier", has_mask=False))
    learner = Learner.create(parsed, seed=1, factories=FACTORIES)
    with pytest.raises(InvalidInput, match="its answer to a row depends on the other rows of the batch"):
        check_network(Model(learner.spec, learner.classes, learner.module), FACTORIES)


def test_outputs_that_are_no_tensor_and_have_no_logits_are_named() -> None:
    with pytest.raises(
        InvalidInput, match="it gives a tuple, where a tensor is needed, or an object or dictionary with"
    ):
        Learner.create(spec({"shape": [4]}, own("in_tuple")), seed=1, factories=FACTORIES)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"shape": [3, None]}, 'only the first size of "shape" may be null'),
        ({"shape": [3], "mask": "m"}, '"mask" belongs to a sequence'),
        ({"shape": [None], "tokenizer": "t.json"}, "of the dtype int64 or int32"),
        ({"shape": [None], "dtype": "int64", "tokenizer": "../t.json"}, "should match pattern"),
        ({"shape": [3], "dtype": "int8"}, "inputs.dtype"),
        ({"a": {"shape": [None]}, "b": {"shape": [None]}}, 'each "mask" of "inputs" has a name of its own'),
        ({"a": {"shape": [None], "mask": "b"}, "b": {"shape": [1]}}, 'each "mask" of "inputs" has a name of its own'),
    ],
)
def test_inputs_that_cannot_be_are_refused_by_name(inputs: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        spec(inputs, own("classifier"))
    with pytest.raises(InvalidInput, match="rows of any length are for a network of your own"):
        spec({"shape": [None]}, {"preset": "mlp"})


@pytest.mark.parametrize(
    ("rows", "field", "message"),
    [
        ([[1, 2], []], "inputs.input_ids[1]", "a row of 0, where 1 to 12 are taken"),
        ([[1] * 13], "inputs.input_ids[0]", "a row of 13, where 1 to 12"),
        ([[1, "2"]], "inputs.input_ids[0]", r"a list of numbers of the shape \[null\] and dtype int64 is expected"),
        ([[1.5]], "inputs.input_ids[0]", "is expected"),
        ([[[1], [2, 3]]], "inputs.input_ids[0]", "is expected"),
        ([3], "inputs.input_ids[0]", "is expected"),
        ([None], "inputs.input_ids[0]", "is expected"),
        (["a text"], "inputs.input_ids", "has no tokenizer"),
    ],
)
def test_a_row_that_is_no_sequence_is_named(rows: list[Any], field: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message) as refused:
        read(spec({"input_ids": IDS}, own("classifier")), {"input_ids": rows})
    assert refused.value.details["field"] == field


def test_texts_become_token_ids_by_the_users_tokenizer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel({"?": 1, "good": 2, "bad": 3}, unk_token="?"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.save(str(tmp_path / "words.json"))
    monkeypatch.chdir(tmp_path)
    given = {**IDS, "dtype": "int32", "tokenizer": "words.json", "max_length": 4}
    parsed = spec({"input_ids": given}, own("classifier"))
    rows = read(parsed, {"input_ids": ["good", "bad or good", "good bad " * 3, [2, 2]]})
    assert [item_as_json(parsed, rows.item(row))["input_ids"] for row in range(4)] == [
        [2],
        [3, 1, 2],
        [2, 3, 2, 3],
        [2, 2],
    ]
    assert rows.tensors["input_ids"].dtype == np.int32
    with pytest.raises(InvalidInput, match="has no token"):
        read(parsed, {"input_ids": [" "]})
    (tmp_path / "broken.json").write_text("{")
    for file in ("missing.json", "broken.json"):
        with pytest.raises(
            InvalidInput, match=f"inputs.input_ids.tokenizer: '{file}' is no file of the tokenizers library"
        ):
            read(spec({"input_ids": {**given, "tokenizer": file}}, own("classifier")), {"input_ids": ["good"]})
