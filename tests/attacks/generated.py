"""Requests made of the table of endpoints: each call as its document shows it, for models and ids that are there or not."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any, get_type_hints

from driftline.api.endpoint import FORM, NDJSON, Endpoint, MediaType
from driftline.api.endpoints import ENDPOINTS
from driftline.api.source_endpoints import TRY_SOURCE
from tests.attacks.mutation import Sample

PARTS = {
    "model": ["weather", "weather", "rows", "open", "cube", "named", "spare", "gone"],
    "version": ["1", "1", "2", "0", "x"],
    "id": ["i1", "order-17", "p:a-b-1-2-c-0", "a/b"],
    "job": ["abc-def", "weather-1"],
    "key": ["0123456789ab", "x"],
    "kind": ["forgetting", "drift", "created", "x"],
    "source": ["labels", "x"],
    "file": ["0123456789abcdef", "x"],
}
QUERY = ["1", "1", "100", "0", "-1", "60", "1e3", "x", "", "created", "true", "99999999999999999999", "labels"]


def _url(endpoint: Endpoint[Any], chance: random.Random) -> str:
    names = [] if endpoint.query is None else [*get_type_hints(endpoint.query)]
    given = {name: chance.choice(QUERY) for name in names if chance.random() < 0.4}
    return endpoint.url({part: chance.choice(PARTS[part]) for part in endpoint.parts}, given)


def _body(body: MediaType, chance: random.Random) -> bytes:
    example = chance.choice([body.example, *body.examples])
    if body.kind == FORM:
        spec = json.dumps({"name": "spare", "task": "regression", "inputs": {"shape": [2]}}).encode()
        parts = (("spec", "", spec), ("weights", '; filename="w"', b"\x02\x00\x00\x00\x00\x00\x00\x00{}"))
        return b"".join(
            b'--x\r\nContent-Disposition: form-data; name="%b"%b\r\n\r\n%b\r\n' % (name.encode(), file.encode(), data)
            for name, file, data in parts
        ) + (b"--x--\r\n")
    if isinstance(example, dict) and example.get("name") == "weather":
        example = example | {"name": chance.choice(["spare", "weather", "other"])}
    return example.encode() if isinstance(example, str) else json.dumps(example).encode()


def generated(chance: random.Random, endpoints: Sequence[Endpoint[Any]] = ENDPOINTS) -> Sample:
    """A call as the document has it."""
    endpoint = chance.choice(endpoints)
    if endpoint is TRY_SOURCE and chance.random() < 0.9:
        endpoint = chance.choice(endpoints)  # It waits for seconds for what a source has.
    url = _url(endpoint, chance)
    if not endpoint.bodies:
        return Sample(endpoint.method, url)
    body = chance.choice(endpoint.bodies)
    kind = f"{body.kind}; boundary=x" if body.kind == FORM else body.kind
    data = _body(body, chance)
    return Sample(endpoint.method, url, data + b"\n" + data if body.kind == NDJSON else data, kind)
