"""Which examples judge a race, and which are trained on in it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor

from driftline.learning.examples import Examples
from driftline.learning.retraining.budget import held_rows


@dataclass(frozen=True)
class Split:
    """The rows of examples that judge, ``held``, and all that have other inputs, ``trained``.

    ``distinct`` is how many different inputs there are.
    """

    held: Tensor
    trained: Tensor
    distinct: int


def split(examples: Examples, seed: int) -> Split:
    """Holds a fifth of the different inputs, each with its newest label, by a keyed hash of them.

    A job has many examples twice, from the memory and from the log: whatever is held must not be trained on as another row.
    """
    keys = _keys(examples, seed)
    newest = {key: row for row, key in enumerate(keys)}
    held = {key: newest[key] for key in sorted(newest)[: held_rows(len(newest))]}
    trained = [row for row, key in enumerate(keys) if key not in held]
    return Split(torch.tensor([*held.values()]), torch.tensor(trained), len(newest))


def _keys(examples: Examples, seed: int) -> list[bytes]:
    columns = [value.reshape(len(examples), -1).numpy() for _, value in sorted(examples.as_sent().items())]
    key = seed.to_bytes(16, "big", signed=True)
    rows = (b"".join([column[row].tobytes() for column in columns]) for row in range(len(examples)))
    return [hashlib.blake2b(row, digest_size=8, key=key).digest() for row in rows]
