"""What the parts of a served answer had said, as it was recorded with the answer."""

from __future__ import annotations

import torch
from torch import Tensor

from driftline.learning.labelled_batch import LabelledBatch
from driftline.networks.experts.mixture import Mixture
from driftline.networks.experts.traces import aligned, read, with_other
from driftline.networks.served_model import ServedModel, evaluating


def member_outputs_of(labelled_batch: LabelledBatch, served: ServedModel, learning: ServedModel, since: int) -> Tensor:
    """The log-probabilities ``[rows, parts, width]`` that the answers to some items were mixed of, when they were given.

    An item that brings no trace, as when it came with its own inputs, is answered now, by what is ``served``; so is one whose
    answer is by a version before ``since``, which counted classes in another order, or whose trace is of other columns than
    those of the mixture that is ``learning``.
    """
    assert isinstance(learning.experts, Mixture)
    parts, columns = learning.experts.parts, learning.experts.columns
    answers = [item.answer for item in labelled_batch.items]
    recorded = [answer.trace if answer is not None and answer.version >= since else b"" for answer in answers]
    traces = read(recorded, parts, columns)
    if traces is not None:
        return traces
    with torch.no_grad():
        _, now = evaluating(served).traced(labelled_batch.examples.inputs)
    assert now is not None
    found = []
    for row, data in enumerate(recorded):
        then = read([data], parts, columns)
        found.append(aligned(now[row : row + 1] if then is None else then, columns))
    if len({each.shape[2] for each in found}) > 1:
        found = [with_other(each, columns) for each in found]
    return torch.cat(found)
