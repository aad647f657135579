"""Buffers of modules as arrays."""

from __future__ import annotations

from collections.abc import Callable, Collection
from operator import is_
from typing import Any, Generic, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

A = TypeVar("A")


class BufferViews(Generic[A]):
    """What is made of tensors, such as arrays that share their memory, for as long as the tensors are the same objects.

    To make an array of a tensor takes as long as a small kernel; to see that a tensor is still the same one takes next to
    nothing. A copy begins empty: its owner has other tensors.
    """

    def __init__(self) -> None:
        self._tensors: tuple[Tensor, ...] = ()
        self._made: A | None = None

    def of(self, tensors: Collection[Tensor], make: Callable[[], A]) -> A:
        """What ``make`` gives, which makes it of these."""
        if self._made is None or len(tensors) != len(self._tensors) or not all(map(is_, tensors, self._tensors)):
            self._made = make()
            self._tensors = tuple(tensors)
        return self._made

    def __deepcopy__(self, memo: dict[int, Any]) -> BufferViews[A]:
        return BufferViews()


class OnCpu(nn.Module):
    """A module that stays where kernels run, on the CPU, whichever device the network goes to."""

    def _apply(self, fn: Any, recurse: bool = True) -> Self:
        return self


class Viewed(OnCpu):
    """A module of buffers that kernels work on."""

    def __init__(self) -> None:
        super().__init__()
        self._views: BufferViews[Any] = BufferViews()

    def arrays(self) -> Any:
        """The buffers as kernels take them."""
        return self._views.of(self._buffers.values(), self._viewed)  # type: ignore[arg-type]

    def _viewed(self) -> Any:
        raise NotImplementedError


def array_of(buffer: Tensor) -> NDArray[Any]:
    """The array that shares a buffer's memory."""
    found: NDArray[Any] = buffer.numpy()
    if not found.flags.c_contiguous:
        raise ValueError(f"a buffer of shape {tuple(buffer.shape)} is not contiguous: kernels cannot work on it")
    return found


def rows_of(rows: Tensor) -> NDArray[np.float32]:
    """Rows ``[batch, numbers]`` as a kernel takes them."""
    if rows.dtype is torch.float32 and not rows.requires_grad and rows.is_cpu and rows.is_contiguous():
        return rows.numpy()
    found: NDArray[np.float32] = rows.detach().float().cpu().contiguous().numpy()
    return found
