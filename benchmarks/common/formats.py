"""How rows travel to a server and probabilities come back: as JSON of several shapes, and as the binary tensors of the
Open Inference Protocol (https://github.com/kserve/open-inference-protocol, its binary extension)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float32]
HEADER_LENGTH = "inference-header-content-length"


@dataclass(frozen=True)
class Body:
    """What a request or an answer carries. Names of headers are in lower case."""

    content: bytes
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Format:
    """One call of a server. ``decode`` gives probabilities ``[rows, classes]``; none, where the answer means nothing."""

    path: str
    encode: Callable[[Rows], Body]
    decode: Callable[[Body], Rows] | None


def json_rows(path: str, key: str, key_of_row: str | None = None) -> Format:
    """``{"inputs": [[…], …]}``; the answer has the rows at ``key``, and the probabilities of each at ``key_of_row``."""

    def decode(body: Body) -> Rows:
        found = json.loads(body.content)[key]
        return _floats([row[key_of_row] for row in found] if key_of_row else found)

    return Format(path, lambda rows: _json({"inputs": rows.tolist()}), decode)


def inference_json(path: str) -> Format:
    """The Open Inference Protocol with its tensors as JSON."""
    return Format(path, lambda rows: _json({"inputs": [_tensor(rows) | {"data": rows.ravel().tolist()}]}), _outputs)


def inference_binary(path: str) -> Format:
    """The Open Inference Protocol with its tensors as bytes after the JSON."""
    return Format(path, _binary, _outputs)


def unread(format: Format) -> Format:
    """The same request to a server whose answer is not read."""
    return replace(format, decode=None)


def _json(value: Any) -> Body:
    return Body(json.dumps(value).encode(), {"content-type": "application/json"})


def _floats(value: Any) -> Rows:
    return np.asarray(value, np.float32)


def _tensor(rows: Rows) -> dict[str, Any]:
    return {"name": "inputs", "shape": list(rows.shape), "datatype": "FP32"}


def _binary(rows: Rows) -> Body:
    tensor = _tensor(rows) | {"parameters": {"binary_data_size": rows.nbytes}}
    header = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    headers = {"content-type": "application/octet-stream", HEADER_LENGTH: str(len(header))}
    return Body(header + rows.astype("<f4").tobytes(), headers)


def _outputs(body: Body) -> Rows:
    """The first float tensor of an answer, wherever it stands."""
    length = int(body.headers.get(HEADER_LENGTH, len(body.content)))
    position = length
    for output in json.loads(body.content[:length])["outputs"]:
        size = output.get("parameters", {}).get("binary_data_size", 0)
        if output["datatype"] == "FP32":
            data = body.content[position : position + size]
            values = np.frombuffer(data, "<f4") if size else _floats(output["data"])
            return values.reshape(output["shape"])
        position += size
    raise ValueError("the answer has no FP32 tensor")
