"""Requests that are right, and what becomes of them by chance: bytes changed, cut, doubled, moved, and put in that are known to
be hard."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass

HARD = [
    *(
        b"NaN",
        b"1e999",
        b"-0",
        b"18446744073709551616",
        b"9" * 400,
        b'"\\ud800"',
        b'"\\u0000"',
        b"caf\xe9",
        b"\xff\xfe",
    ),
    *(
        b"[" * 2000,
        b"{" * 300,
        b"\xef\xbb\xbf",
        "\u2028\u2029\u0085".encode(),
        b"\x00",
        b"\n",
        b"\r",
        b"\\",
        b'"',
        b",",
        b":",
    ),
    *(
        b"null",
        b"true",
        b"[]",
        b"{}",
        b'""',
        b"-1",
        b"1.5",
        b'{"a":1,"a":2}',
        b"%00",
        b"%ff",
        b"%2e%2e",
        b"/",
        b"?",
        b"#",
    ),
]
NDJSON, JSON = "application/x-ndjson", "application/json"


@dataclass(frozen=True)
class Sample:
    """A request that is right."""

    method: str
    path: str
    body: bytes = b""
    kind: str = JSON


def _sample(method: str, path: str, body: object = None) -> Sample:
    return Sample(method, path, b"" if body is None else json.dumps(body).encode())


ITEMS = [{"inputs": [0.5, 2], "label": number % 2, "id": f"i{number}", "weight": 1.5} for number in range(3)]
ROWS = [{"age": 3, "city": "Rome", "note": "x", "day": "2024-02-03"}, {"age": None}]
TENSOR = {"name": "inputs", "datatype": "FP32", "shape": [1, 3, 2], "data": [[[1, 4], [2, 5], [3, 6]]]}
SAMPLES = [
    _sample("POST", "/v1/models/weather/predict", {"inputs": [[1, 2], [3, 4]]}),
    _sample("POST", "/v1/models/rows/predict", {"inputs": ROWS}),
    _sample("POST", "/v1/models/rows/predict", {"inputs": {"age": [1, 2], "city": ["a", "b"]}}),
    _sample("POST", "/v1/models/named/predict", {"inputs": {"user": [[1, 2]], "item": [[3]]}}),
    _sample("POST", "/v2/models/cube/infer", {"inputs": [TENSOR], "outputs": [{"name": "label"}], "id": "7"}),
    _sample("POST", "/v1/models/weather/feedback", {"items": ITEMS}),
    _sample("POST", "/v1/models/open/feedback", {"items": ITEMS}),
    _sample(
        "POST", "/v1/models/rows/feedback", {"items": [{"inputs": ROWS[0], "label": 1, "source": "s", "time": 1.5}]}
    ),
    Sample("POST", "/v1/models/open/feedback/stream", b"\n".join(json.dumps(item).encode() for item in ITEMS), NDJSON),
    _sample("GET", "/v1/models/weather/feedback/i1"),
    _sample("POST", "/v1/models/weather/receipts", {"ids": ["i1", "i2"]}),
    _sample(
        "POST", "/v1/models", {"name": "weather", "inputs": {"shape": [2]}, "task": "classification", "classes": [0, 1]}
    ),
    _sample("POST", "/v1/models/weather/retrain", {"recipe": {"batch_size": 8}, "epochs": 1, "dry_run": True}),
    _sample("POST", "/v1/models/weather/compare", {"versions": [1, 2], "reason": "why"}),
    _sample("POST", "/v1/models/weather/rollback", {"version": 2}),
    _sample("POST", "/v1/models/weather/pause", {"reason": "why"}),
    _sample("PATCH", "/v1/models/weather/recipe?reason=why", {"batch_size": 16}),
    _sample("PUT", "/v1/models/weather/imports/0123456789abcdef", {"name": "f", "rows": 3}),
    _sample("GET", "/v1/models/weather/log?start=1&limit=2"),
    _sample("GET", "/v1/models/weather/scores?since=1&until=100&step=60"),
    _sample("GET", "/v1/models/weather/rejected?before=3&limit=2"),
    _sample("GET", "/v1/models/weather/events?kind=created&limit=3"),
    _sample("GET", "/v1/models/weather/versions/1"),
    _sample("GET", "/v1/jobs/abc-def"),
    _sample("GET", "/v2/models/weather/versions/1"),
]


def _cut(chance: random.Random, data: bytearray) -> None:
    place = chance.randrange(len(data) + 1)
    del data[place : place + chance.randint(1, 8)]


def _change(chance: random.Random, data: bytearray) -> None:
    if data:
        data[chance.randrange(len(data))] = chance.randrange(256)


def _insert(chance: random.Random, data: bytearray) -> None:
    place = chance.randrange(len(data) + 1)
    data[place:place] = chance.choice(HARD)


def _replace(chance: random.Random, data: bytearray) -> None:
    """Puts something hard in the place of a value."""
    ends = [place for place, byte in enumerate(data) if byte in b",:[]{}"]
    if len(ends) > 1:
        first = chance.randrange(len(ends) - 1)
        data[ends[first] + 1 : ends[first + 1]] = chance.choice(HARD)


def _double(chance: random.Random, data: bytearray) -> None:
    first = chance.randrange(len(data) + 1)
    part = data[first : first + chance.randint(1, 60)]
    place = chance.randrange(len(data) + 1)
    data[place:place] = part * chance.randint(1, 3)


CHANGES: list[Callable[[random.Random, bytearray], None]] = [_cut, _change, _insert, _replace, _replace, _double]


def mutated(chance: random.Random, data: bytes) -> bytes:
    """The same with one to three things changed."""
    found = bytearray(data)
    for _ in range(chance.randint(1, 3)):
        chance.choice(CHANGES)(chance, found)
    return bytes(found)


def request_of(chance: random.Random) -> Sample:
    """A request of which the body, or else the path, is no longer what it was."""
    return changed(chance, chance.choice(SAMPLES))


def changed(chance: random.Random, sample: Sample) -> Sample:
    """The same, but for its body or else its path."""
    if sample.body and chance.random() < 0.85:
        return Sample(sample.method, sample.path, mutated(chance, sample.body), sample.kind)
    start = sample.path.find("/", 1) % (len(sample.path) + 1)
    path = mutated(chance, sample.path[start:].encode()).decode("latin-1")
    return Sample(sample.method, sample.path[:start] + path, sample.body, sample.kind)


def broken_value(chance: random.Random) -> bytes:
    """A value that is none, or hardly one, but begins and ends where it does: its brackets and quotes match."""
    leaves = [
        b"NaN",
        b"1e999",
        b"9" * 400,
        b'"\\ud800"',
        b'"caf\xe9"',
        b'"\x01"',
        b"nothing",
        b"-",
        b"01",
        b"+1",
        b"",
        b"1 2",
    ]
    value = chance.choice(leaves)
    for _ in range(chance.choice((0, 0, 1, 2, 300))):
        value = chance.choice((b"[%b]", b'{"x": %b}')) % value
    return value
