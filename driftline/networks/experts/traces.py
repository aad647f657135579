"""The traces of a mixture's answers: what they hold, and which columns they are of.

A trace ``[parts, width]`` holds the log-probabilities of each member and, in its last row, a tag for each column. The tag tells
the class of a column, for a trace is read long after it was made: by then there may be more columns, or others. In front is the
column of any other class, if some had not been seen (:mod:`driftline.networks.experts.columns`). The column of the newest label
that was known is marked in its tag. Everything fits float16.

In the traces of former releases columns are the classes in order, and the last row is 0 at the newest label and -8 elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from driftline.networks.experts.columns import FIRST_TAG, NEWEST_TAG, OTHER_TAG, TAGS, ClassColumns
from driftline.networks.kernels import mixture as kernels

UNKNOWN = float(kernels.UNKNOWN)
"""The log-probability of a column that there was not yet when a trace was made."""


def read(recorded: Sequence[bytes], parts: int, columns: ClassColumns) -> Tensor | None:
    """Recorded traces as one tensor ``[rows, parts, width]``; None where they are not all of one width and of these columns."""
    size = len(recorded[0]) if recorded else 0
    if not size or size % (2 * parts) or any(len(data) != size for data in recorded):
        return None
    numbers = np.frombuffer(b"".join(recorded), np.float16).astype(np.float32)
    traces = torch.from_numpy(numbers.reshape(len(recorded), parts, -1))
    tags = {data[-size // parts :] for data in recorded}
    if all(map(_are_former, tags)):
        tags = _retag(traces)
    return traces if all(_are_of(row, columns.class_tags) for row in tags) else None


def aligned(traces: Tensor, columns: ClassColumns) -> Tensor:
    """Traces ``[rows, parts, width]`` of the first of the ``columns`` as traces of all; what they do not know is ``UNKNOWN``.

    The width is then that of the columns, or one more where any other class is in front.
    """
    if traces.shape[2] > columns.count:
        return traces
    missing = columns.count + _has_other(traces) - traces.shape[2]
    return torch.nn.functional.pad(traces, (0, missing), value=UNKNOWN) if missing else traces


def with_other(traces: Tensor, columns: ClassColumns) -> Tensor:
    """Traces ``[rows, parts, 1 + columns]``, whether they know of any other class or not."""
    traces = aligned(traces, columns)
    has_none = traces.shape[2] == columns.count
    return torch.nn.functional.pad(traces, (1, 0), value=UNKNOWN) if has_none else traces


def _has_other(traces: Tensor) -> int:
    # A small array takes numpy a fraction of the time that it takes torch.
    return int(traces.numel() > 0 and traces.numpy()[0, -1, 0] == OTHER_TAG)


def _retag(traces: Tensor) -> set[bytes]:
    """Gives traces of former releases the tags of the present one; what these are."""
    last = traces[:, -1]
    last.copy_(torch.arange(last.shape[1]) % TAGS + FIRST_TAG + NEWEST_TAG * (last == 0))
    return {row.tobytes() for row in last.half().numpy()}


# There are few different rows of tags, and each label brings one: to compare them again would cost as much as a small member.
@lru_cache(maxsize=1024)
def _are_former(tags: bytes) -> bool:
    """Whether a last row, of float16 numbers, is as former releases had it."""
    return bool((np.frombuffer(tags, np.float16) <= 0).all())


@lru_cache(maxsize=1024)
def _are_of(tags: bytes, class_tags: bytes) -> bool:
    """Whether a last row has the tags of the first of these classes, behind that of any other class or not."""
    row, wanted = np.frombuffer(tags, np.float16), np.frombuffer(class_tags, np.float16)
    of_classes = row[int(row[0] == OTHER_TAG) :]
    if len(of_classes) > len(wanted):
        return False
    wanted = wanted[: len(of_classes)]
    return bool(((of_classes == wanted) | (of_classes == wanted + NEWEST_TAG)).all())
