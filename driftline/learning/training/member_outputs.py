"""What the parts of a served answer had said, as it was recorded with the answer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from driftline.learning.labelled_batch import LabelledBatch
from driftline.networks.experts.mixture import Mixture
from driftline.networks.experts.regression import RegressionMixture
from driftline.networks.experts.traces import aligned, read, with_other
from driftline.networks.served_model import ServedModel, evaluating


def member_outputs_of(
    labelled_batch: LabelledBatch, served: ServedModel, learning: ServedModel, ordered_since: int, mixed_since: int = 0
) -> Tensor:
    """The log-probabilities ``[rows, parts, width]`` that the answers to some items were mixed of, when they were given.

    Of a regression these are values ``[rows, parts, outputs]``.

    An item that brings no trace, as when it came with its own inputs, is answered now, by what is ``served``; so is one whose
    answer is by a version before ``ordered_since``, which counted classes in another order, or whose trace is of other columns
    than those of the mixture that is ``learning``. That itself answers while there are answers from before ``mixed_since``, by
    a mixture that was another one.
    """
    answers = [item.answer for item in labelled_batch.items]
    since = max(ordered_since, mixed_since)
    if any(answer is not None and answer.version < mixed_since for answer in answers):
        served = learning
    recorded = [answer.trace if answer is not None and answer.version >= since else b"" for answer in answers]
    mixture = learning.experts
    if isinstance(mixture, RegressionMixture):
        # What is served may be of a release whose regressions had no mixture.
        knowing = served if served.experts is not None else learning
        return _values_of(recorded, labelled_batch, knowing, mixture)
    assert isinstance(mixture, Mixture)
    parts, columns = mixture.parts, mixture.columns
    traces = read(recorded, parts, columns)
    if traces is not None:
        return traces
    now = _now(labelled_batch, served)
    found = []
    for row, data in enumerate(recorded):
        then = read([data], parts, columns)
        found.append(aligned(now[row : row + 1] if then is None else then, columns))
    if len({each.shape[2] for each in found}) > 1:
        found = [with_other(each, columns) for each in found]
    return torch.cat(found)


def _values_of(
    recorded: Sequence[bytes], labelled_batch: LabelledBatch, served: ServedModel, mixture: RegressionMixture
) -> Tensor:
    size = 4 * mixture.parts * mixture.outputs
    is_whole = [len(data) == size for data in recorded]
    data = b"".join(each if whole else bytes(size) for each, whole in zip(recorded, is_whole, strict=True))
    traces = torch.frombuffer(bytearray(data), dtype=torch.float32).reshape(-1, mixture.parts, mixture.outputs)
    return (
        traces
        if all(is_whole)
        else torch.where(torch.tensor(is_whole).view(-1, 1, 1), traces, _now(labelled_batch, served))
    )


def _now(labelled_batch: LabelledBatch, served: ServedModel) -> Tensor:
    """What all members answer now."""
    with torch.no_grad():
        _, now = evaluating(served).traced(labelled_batch.examples.inputs)
    assert now is not None
    return now
