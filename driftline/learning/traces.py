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
    served.eval()
    with torch.no_grad():
        _, now = served.answer(examples.inputs)
    assert now is not None
    parts, width = now.shape[1:]
    for row, item in enumerate(items):
        recorded = item.answer.trace if item.answer is not None else b""
        known = len(recorded) // (2 * parts)
        if recorded and len(recorded) == 2 * parts * known and known <= width:
            then = torch.frombuffer(bytearray(recorded), dtype=torch.float16).float()
            now[row] = FLOOR
            now[row, :, :known] = then.reshape(parts, known)
    return now
