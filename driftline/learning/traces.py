"""What the parts of a served answer had said, as it was recorded with the answer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from driftline.learning.examples import Examples
from driftline.networks.build import Served
from driftline.records import Item

FLOOR = -16.0
"""The log-probability of a class that was not known yet."""


def traces_of(items: Sequence[Item], examples: Examples, served: Served) -> Tensor:
    """The log-probabilities ``[rows, parts, classes]`` behind the answers to ``items``, as they were when they were given.

    An item that brings no trace, as when it came with its own inputs, is answered now, by what is ``served``.
    """
    assert served.experts is not None
    parts, width = int(served.experts.parts), int(served.experts.classes)  # type: ignore[arg-type]
    recorded = [_recorded(item, parts, width) for item in items]
    if None in recorded:
        with torch.no_grad():
            _, now = served.eval().traced(examples.inputs)
        assert now is not None
        traces = now
    else:
        traces = torch.full((len(items), parts, width), FLOOR)
    for trace, then in zip(traces, recorded, strict=True):
        if then is not None:
            trace.fill_(FLOOR)
            trace[:, : then.shape[1]] = then
    return traces


def _recorded(item: Item, parts: int, width: int) -> Tensor | None:
    """The trace that an item brings, if it is of these parts and no more classes."""
    data = item.answer.trace if item.answer is not None else b""
    if not data or len(data) % (2 * parts) or len(data) > 2 * parts * width:
        return None
    return torch.frombuffer(bytearray(data), dtype=torch.float16).float().reshape(parts, -1)
