"""Copies of large tensors that share their memory until it is written: the system copies a page when somebody writes to it.

A *base* holds numbers as they were once, in a file that is in memory and has no name. Tensors are private mappings of it, so
that whatever writes to one, said or not, writes to pages of that one alone.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from typing import BinaryIO
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, UntypedStorage

from driftline.networks import sealed

MIN_BYTES = 4 * 2**20
"""A tensor that is smaller is copied: a base keeps a file open."""
MAX_SHARE = 1 / 8
"""The share of a base's pages that its copies may have of their own before there is another base."""


class PageBase:
    """The numbers of a table as they are now."""

    def __init__(self, table: Tensor) -> None:
        self._file = _file_in_memory()
        self._file.write(sealed.bytes_of(table))
        self._file.flush()
        self._dtype, self._shape, self._bytes = table.dtype, table.shape, table.nbytes

    def mapped(self) -> Tensor:
        """A table with these numbers, which may be written."""
        storage: UntypedStorage = UntypedStorage.from_file(  # type: ignore[assignment]
            f"/dev/fd/{self._file.fileno()}", False, self._bytes
        )
        _bases[storage] = self
        return torch.empty(0, dtype=self._dtype).set_(storage, 0, self._shape)  # type: ignore[call-overload, no-any-return]

    def is_near(self, rows: Tensor) -> bool:
        """Whether a table that differs in these rows ``[rows]``, in order, shares most of its pages."""
        row_bytes = self._bytes // self._shape[0]
        first, last = rows * row_bytes // mmap.PAGESIZE, ((rows + 1) * row_bytes - 1) // mmap.PAGESIZE
        pages = len(torch.unique_consecutive(first)) + int((last - first).sum())
        return pages * mmap.PAGESIZE <= MAX_SHARE * self._bytes


_bases: WeakKeyDictionary[UntypedStorage, PageBase] = WeakKeyDictionary()


def base_of(table: Tensor) -> PageBase | None:
    """The base that a table is a mapping of; None where it has memory of its own."""
    return _bases.get(table.untyped_storage())


def can_share(table: Tensor) -> bool:
    """Whether a table is large, and lies in memory as a file would."""
    is_whole = sealed.can_be_blob(table) and table.untyped_storage().nbytes() == table.nbytes
    return is_whole and table.nbytes >= MIN_BYTES


def _file_in_memory() -> BinaryIO:
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("driftline"), "w+b")
    return tempfile.TemporaryFile()
