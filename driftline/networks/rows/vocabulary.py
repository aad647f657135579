"""The values that categories have had."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from driftline.networks.kernels.rows import entries_of, index
from driftline.networks.kernels.views import BufferViews

UNKNOWN = 0
"""The entry of every value that has none of its own."""
SALT = np.uint64(0x9E3779B97F4A7C15)


class Vocabulary(nn.Module):
    """Gives each value of each category an entry when its first label comes, in that order, for good.

    A value that is missing is one like others. Of each category the first few values have a *mark*, a feature of their own.

    Args:
        categories: how many there are.
        marks: values of each category that have a mark.
        limit: entries at most; what comes later is unknown.
    """

    keys: Tensor
    marks_of: Tensor

    def __init__(self, categories: int, marks: int, *, limit: int = 2**16) -> None:
        super().__init__()
        self.categories, self.marks, self.limit = categories, marks, limit
        self.register_buffer("keys", torch.zeros(1, dtype=torch.int64))
        self.register_buffer("marks_of", torch.full((1,), -1, dtype=torch.int64))
        self._salts = (np.arange(1, categories + 1, dtype=np.uint64) * SALT).view(np.int64)
        self._views: BufferViews[tuple[NDArray[np.int64], ...]] = BufferViews()

    def __len__(self) -> int:
        return len(self.keys)

    def entries(self, categories: NDArray[np.int64]) -> NDArray[np.int64]:
        """The entries of values, by their keys ``[rows, categories]``."""
        found: NDArray[np.int64] = entries_of(np.ascontiguousarray(categories), self.arrays)
        return found

    @property
    def arrays(self) -> tuple[NDArray[np.int64], ...]:
        """What kernels take: where the key of each value is found, the keys, the salts, and the marks."""
        return self._views.of((self.keys, self.marks_of), self._arrays)

    def _arrays(self) -> tuple[NDArray[np.int64], ...]:
        keys = self.keys.numpy()
        return index(keys), keys, self._salts, self.marks_of.numpy()

    def add(self, categories: NDArray[np.int64]) -> int:
        """Gives values that are new an entry; how many there are then."""
        entries = self.entries(categories)
        if (entries != UNKNOWN).all() or len(self.keys) >= self.limit:
            return len(self.keys)
        rows, columns = np.nonzero(entries == UNKNOWN)
        salted = (categories ^ self._salts)[rows, columns].tolist()
        new = dict(zip(salted, columns.tolist(), strict=True))
        new = dict(list(new.items())[: self.limit - len(self.keys)])
        taken = np.bincount(self._columns_with_marks(), minlength=self.categories)
        marks = []
        for column in new.values():
            has_room = taken[column] < self.marks
            marks.append(column * self.marks + int(taken[column]) if has_room else -1)
            taken[column] += 1
        self.keys = torch.cat([self.keys, torch.tensor(list(new), dtype=torch.int64)])
        self.marks_of = torch.cat([self.marks_of, torch.tensor(marks, dtype=torch.int64)])
        return len(self.keys)

    def _columns_with_marks(self) -> NDArray[np.int64]:
        marks = self.marks_of.numpy()
        return marks[marks >= 0] // self.marks

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *arguments: Any) -> None:
        self._views = BufferViews()
        for name in ("keys", "marks_of"):
            if prefix + name in state_dict:
                setattr(self, name, getattr(self, name).new_zeros(len(state_dict[prefix + name])))
        super()._load_from_state_dict(state_dict, prefix, *arguments)
