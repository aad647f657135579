"""Rows and labels, as JSON and as the tensors of the Open Inference Protocol: what the doors for them take is what they say."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from app.inference_protocol import Tensors, decode
from app.json_rows import BodyDecoder
from driftline.errors import InvalidInput
from driftline.ingest.feedback_items import FeedbackDecoder, named, sent_id
from driftline.rows.rows import Rows
from driftline.spec import ModelSpec, parse
from driftline.support.lines import LineCutter, lines
from tests.attacks.mutation import ITEMS, ROWS, TENSOR
from tests.services import spec

INPUTS: list[dict[str, Any]] = [
    {"inputs": {"shape": [2]}},
    {"inputs": {"shape": [2]}, "classes": "open"},
    {"inputs": {"shape": [3, 2], "dtype": "int64"}},
    {"inputs": {"fields": {"age": "number", "city": "category", "note": "text", "day": "time"}}},
    {"inputs": {"user": {"shape": [2]}, "item": {"shape": [1], "dtype": "uint8"}}},
    {"inputs": {"shape": [None, 2]}, "network": {"factory": "own:network"}},
]
SPECS = [parse(ModelSpec, spec(**changes)) for changes in INPUTS]
LABELS = [FeedbackDecoder(each) for each in SPECS]
LABELS += [
    FeedbackDecoder(parse(ModelSpec, spec(task="multilabel", classes=["a", "b"]))),
    FeedbackDecoder(parse(ModelSpec, {"name": "m", "task": "regression", "inputs": {"shape": [2]}})),
]
BODIES = [BodyDecoder(each) for each in SPECS]
TENSORS = [Tensors(each) for each in SPECS if each.fields is None]


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


def read_labels(data: bytes) -> None:
    """Lines are the same however they come, and of each item it is said what it is or what is wrong with it."""
    cutter, middle = LineCutter(), len(data) // 2
    assert lines(data) == [*cutter.add(data[:middle]), *cutter.add(data[middle:]), *cutter.rest()]
    sent_id(data)
    error: InvalidInput | None = None
    for decoder in LABELS:
        try:
            sent = decoder.decode(data)
        except InvalidInput as refused:
            error = refused
            continue
        named(sent)
        if sent.inputs is not None:
            (rows,) = decoder.rows.rows([sent.inputs])
            _check(decoder.spec, rows)
    if error is not None:
        raise error


def _check(spec: ModelSpec, rows: Rows | InvalidInput) -> None:
    """Rows that were taken are finite, and of the types that the spec has; what is recorded of them can be written."""
    if isinstance(rows, InvalidInput):
        return
    for name, tensor in spec.tensors.items():
        array = rows.tensors[name]
        assert len(array) == len(rows)
        assert array.dtype.kind != "f" or spec.fields is not None or np.isfinite(array).all(), name
        assert spec.fields is not None or tensor.shape[:1] == [None] or list(array.shape[1:]) == list(tensor.shape)
    rows.recorded()


def read_rows(data: bytes) -> None:
    """What the fast parser takes the precise one takes, too, and as the same."""
    error: InvalidInput | None = None
    for decoder in BODIES:
        fast = decoder.decode_fast(data)
        try:
            precise = decoder.decode_precisely(data)
        except InvalidInput as refused:
            assert fast is None, refused
            error = refused
            continue
        _check(decoder.spec, precise)
        if fast is not None:
            assert fast.recorded() == precise.recorded() and fast.keys == precise.keys
    if error is not None:
        raise error


def read_tensors(data: bytes) -> None:
    """A request whose first line is what the header says of the length of its JSON, or empty."""
    header, _, body = data.partition(b"\n")
    request, binary = decode(body, header or None)
    error: InvalidInput | None = None
    for tensors in TENSORS:
        try:
            _check(tensors.spec, tensors.rows(request, binary))
        except InvalidInput as refused:
            error = refused
    if error is not None:
        raise error


LABEL_SEEDS = [
    *map(_json, ITEMS),
    _json({"prediction_id": "a-b-1-2-c-0", "label": 1, "time": 1.5, "source": "s"}),
    _json({"inputs": ROWS[0], "label": 1, "key": "k", "delay": 3, "route": "import"}),
    _json({"inputs": {"user": [1, 2], "item": [3]}, "label": 0}),
    _json({"inputs": [[1, 2], [3, 4], [5, 6]], "label": 1, "revise": True, "id": "i"}),
    _json({"inputs": [0] * 8, "label": ["a"]}) + b"\r\n\n" + _json({"inputs": [1, 2], "label": 1e3}),
]
ROW_SEEDS = [
    _json({"inputs": [[1, 2], [3, 4]]}),
    _json({"inputs": [[1.5, -2e3]], "keys": ["a"]}),
    _json({"inputs": [[[1, 2], [3, 4], [5, 6]]]}),
    _json({"inputs": ROWS, "keys": ["a", None]}),
    _json({"inputs": {"age": [1, 2], "city": ["a", None]}}),
    _json({"inputs": {"user": [[1, 2]], "item": [[3]]}}),
]
BINARY = _json(
    {"inputs": [{"name": "inputs", "datatype": "FP32", "shape": [1, 2], "parameters": {"binary_data_size": 8}}]}
)
TENSOR_SEEDS = [
    b"\n" + _json({"inputs": [TENSOR], "outputs": [{"name": "label", "parameters": {"binary_data": True}}], "id": "7"}),
    b"\n"
    + _json({"inputs": [{"name": "inputs", "datatype": "INT64", "shape": [1, 3, 2], "data": [1, 2, 3, 4, 5, 6]}]}),
    b"%d\n%b%b" % (len(BINARY), BINARY, np.array([1, 2], np.float32).tobytes()),
    b"\n"
    + _json(
        {
            "inputs": [
                {"name": "user", "datatype": "BF16", "shape": [1, 2], "data": [1, 2]},
                {"name": "item", "datatype": "UINT8", "shape": [1, 1], "data": [3]},
            ],
            "parameters": {"keys": ["a"]},
        }
    ),
]
