"""Small drifting streams. They are drawn and labelled without anything that two machines may compute differently."""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec
import numpy as np

from driftline.records import Label

Row = dict[str, Any]

ABRUPT, GRADUAL, SHIFT = 350, (600, 800), 750
NEW_CLASS, LATE_CLASS = 150, 500
COUNT = 1000
NAMES = ("a", "b", "c", "d", "e")

SHAPES: dict[str, dict[str, tuple[tuple[int, ...], str]]] = {
    "rows": {"inputs": ((6,), "float32")},
    "images": {"inputs": ((2, 4, 4), "float32")},
    "tokens": {"inputs": ((4,), "int64")},
    "uint8": {"inputs": ((6,), "uint8")},
    "int32": {"inputs": ((6,), "int32")},
    "float16": {"inputs": ((6,), "float16")},
    "bfloat16": {"inputs": ((6,), "bfloat16")},
    "pairs": {"user": ((), "int64"), "item": ((2,), "float32")},
}


FIELDS: dict[str, Any] = {
    "size": "number",
    "plan": "category",
    "flag": "boolean",
    "note": "text",
    "seen": {"type": "time", "unit": "ms"},
    "made": {"type": "time", "unit": "s"},
    "sent": {"type": "time", "unit": "us"},
    "read": {"type": "time", "unit": "ns"},
    "part": {"type": "tensor", "shape": [2]},
    "row": "ignore",
}
WORDS = ("a friendly word", "nothing to say", "rude and loud")
FIRST_HOUR = 475_000


def shape_of(kind: str) -> Any:
    """The ``inputs`` of a spec for rows of a kind."""
    if kind == "fields":
        return {"fields": FIELDS, "unknown": "refuse"}
    tensors = {name: {"shape": list(shape), "dtype": dtype} for name, (shape, dtype) in SHAPES[kind].items()}
    return tensors["inputs"] if list(tensors) == ["inputs"] else tensors


@cache
def stream(kind: str, task: str, times: int = 1) -> list[tuple[dict[str, bytes], Label]]:
    """Rows with their labels: an abrupt drift, then a gradual one, and at last inputs that are distributed otherwise.

    It is so many times as long, and all that happens comes so much later.

    ``task``: ``classes`` are 0 to 2; ``open`` has five by name, of which two arrive late; ``values`` is a regression, and
    ``intervals`` one with intervals, ``outputs`` one with two outputs as well. ``labels`` are of any of three classes.
    """
    draws = np.random.default_rng(11)
    found = []
    for n in range(times * COUNT):
        time = n / times
        row, numbers = _row(kind, draws, n, has_shifted=time >= SHIFT)
        concept = _concept(time, float(draws.random()))
        found.append((row, _label(task, numbers, concept, time, float(draws.random()))))
    return found


def _row_of_fields(draws: np.random.Generator, n: int, has_shifted: bool) -> tuple[dict[str, bytes], list[float]]:
    """A row of which now and then a field is missing."""
    drawn = draws.random(8)
    plan, word = int(drawn[1] * (20 if has_shifted else 12)), int(drawn[2] * len(WORDS))
    part = np.asarray((drawn[3:5] - 0.5) * 4, np.float32)
    hour = FIRST_HOUR + n
    row = {
        "size": float(drawn[0] * 4 - 2 + has_shifted),
        "plan": f"plan {plan}",
        "flag": bool(drawn[5] < 0.5),
        "note": WORDS[word],
        "seen": hour * 3_600_000,
        "made": (hour - int(drawn[6] * 48)) * 3600,
        "sent": hour * 3_600_000_000,
        "read": hour * 3_600_000_000_000,
        "part": part.tobytes(),
        "weight": float(drawn[7] + drawn[0]),
    }
    known = {name: value for place, (name, value) in enumerate(row.items()) if (n + place) % 13}
    numbers = [row["size"], (plan % 5 - 2) / 2, float(word - 1), *part.tolist()]
    return {"inputs": msgspec.msgpack.encode(known)}, numbers


def _row(kind: str, draws: np.random.Generator, n: int, has_shifted: bool) -> tuple[dict[str, bytes], list[float]]:
    if kind == "fields":
        return _row_of_fields(draws, n, has_shifted)
    row, numbers = {}, []
    for name, (shape, dtype) in SHAPES[kind].items():
        drawn = draws.random((2, *shape))
        is_whole = "int" in dtype
        if is_whole:
            values = np.asarray(drawn[0] * (9 if has_shifted else 7), dtype)
        else:
            values = np.asarray((drawn[0] + drawn[1] - 1) * 2 + has_shifted, np.float32)
        row[name] = _bytes(values, dtype)
        numbers += [float(number) * (0.25 if is_whole else 1) for number in values.reshape(-1)]
    return row, numbers


def _bytes(values: np.ndarray[Any, Any], dtype: str) -> bytes:
    if dtype == "bfloat16":  # Of the bits of a float32 the upper half.
        return (values.view(np.uint32) >> 16).astype(np.uint16).tobytes()
    return values.astype(dtype).tobytes()


def _concept(time: float, drawn: float) -> int:
    begin, end = GRADUAL
    if time < ABRUPT:
        return 0
    return 2 if drawn < (time - begin) / (end - begin) else 1


def _label(task: str, numbers: list[float], concept: int, time: float, drawn: float) -> Label:
    if task == "labels":
        return [name for place, name in enumerate("abc") if numbers[(place + concept) % len(numbers)] > 0.3 * place]
    if task == "outputs":
        return [float(_label("values", numbers, concept + far, time, drawn)) * 1000**far for far in (0, 1)]  # type: ignore[arg-type]
    if task in ("values", "intervals"):
        factors = [((index * 5 + concept * 7) % 11) - 5 for index in range(len(numbers))]
        return 100 + sum(factor * number for factor, number in zip(factors, numbers, strict=True)) + drawn
    count = 5 if task == "open" else 3
    scores = [
        sum((((index + 1) * (name + 3) * (concept + 2)) % 7 - 3) * number for index, number in enumerate(numbers))
        for name in range(count)
    ]
    if task == "open":
        known = 3 + (time >= NEW_CLASS) + (time >= LATE_CLASS)
        return NAMES[max(range(known), key=lambda name: scores[name])]
    label = max(range(count), key=lambda name: scores[name])
    return (label + 1) % count if drawn < 0.05 else label
