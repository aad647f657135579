"""What the parts of a served answer had said, as it was recorded with the answer."""

from __future__ import annotations

import torch
from torch import Tensor

from driftline.learning.labelled_batch import LabelledBatch
from driftline.networks.experts.mixture import UNKNOWN
from driftline.networks.served_model import ServedModel, evaluating


def member_outputs_of(labelled_batch: LabelledBatch, served: ServedModel, since: int) -> Tensor:
    """The log-probabilities ``[rows, parts, classes]`` behind the answers to some items, as they were when they were given.

    An item that brings no trace, as when it came with its own inputs, is answered now, by what is ``served``; so is one whose
    answer is by a version before ``since``, which counted classes in another order.
    """
    assert served.experts is not None
    parts, width = int(served.experts.parts), int(served.experts.classes)  # type: ignore[arg-type]
    answers = [item.answer for item in labelled_batch.items]
    recorded = [answer.trace if answer is not None and answer.version >= since else b"" for answer in answers]
    if all(len(data) == 2 * parts * width for data in recorded):
        return _read(b"".join(recorded)).reshape(len(labelled_batch), parts, width)
    with torch.no_grad():
        _, traces = evaluating(served).traced(labelled_batch.examples.inputs)
    assert traces is not None
    for trace, data in zip(traces, recorded, strict=True):
        # One of other parts, or of more classes, is of another network.
        if data and not len(data) % (2 * parts) and len(data) <= 2 * parts * width:
            then = _read(data).reshape(parts, -1)
            trace.fill_(UNKNOWN)
            trace[:, : then.shape[1]] = then
    return traces


def _read(data: bytes) -> Tensor:
    return torch.frombuffer(bytearray(data), dtype=torch.float16).float() if data else torch.zeros(0)
