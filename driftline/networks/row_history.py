"""Which rows of a table have been written since it was in a file, and since it was hashed: only these are looked at again.

A table that is trained goes through *moments*: each update begins a new one, and says which rows it writes. Copies of a table,
as of a champion, are of the same moment until one is written. Whatever writes a table without saying so is found by torch's
count of writes: all of its rows count as written then.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from weakref import ReferenceType, WeakKeyDictionary, ref

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, UntypedStorage

from driftline.networks.shared_pages import PageBase, base_of, can_share

HASHED_ROWS = 2**16
"""Rows that are hashed at once: their numbers take four times their bytes meanwhile."""


@dataclass(frozen=True)
class RowFile:
    """A file with all rows of a table (``rows`` is None), or with some of them, by their indices ``[rows]``."""

    digest: str
    bytes: int
    rows: Tensor | None = None


class Lineage:
    """The moments of one table as it is trained: when each row was last written, and the newest moment that files hold.

    ``base`` holds the table as it was at ``based_at``.
    """

    def __init__(self, rows: int) -> None:
        self.clock = 0
        self.written_at = torch.zeros(rows, dtype=torch.int64)
        self.filed: Moment | None = None
        # Its mappings keep it: a lineage may live on for some time after the last of them.
        self.base: ReferenceType[PageBase] | None = None
        self.based_at = 0
        self.finite_at = -1
        self.hashed_at = -1
        self.hashes: NDArray[np.uint64] = np.zeros(0, np.uint64)

    def branch(self, clock: int) -> Lineage:
        """The same until ``clock``: what was written after it is known no longer, and may have been written before it."""
        found = Lineage(len(self.written_at))
        found.clock, found.written_at = clock, self.written_at.clamp(max=clock)
        found.filed = self.filed if self.filed is not None and self.filed.clock <= clock else None
        if self.based_at <= clock:
            found.base, found.based_at = self.base, self.based_at
        return found

    def written_since(self, clock: int) -> Tensor:
        """The rows that were written after a moment ``[rows]``, in order."""
        # It takes torch four times as long.
        return torch.from_numpy(np.flatnonzero(self.written_at.numpy() > clock))


@dataclass
class Moment:
    """A table between two writes. ``files`` hold it, the whole one first; None: none do yet."""

    lineage: Lineage
    clock: int = 0
    files: tuple[RowFile, ...] | None = None

    def next(self, rows: Tensor) -> Moment:
        """The moment after a write of some rows."""
        lineage = self.lineage if self.clock == self.lineage.clock else self.lineage.branch(self.clock)
        lineage.clock += 1
        lineage.written_at[rows] = lineage.clock
        return Moment(lineage, lineage.clock)

    def changed(self) -> tuple[tuple[RowFile, ...], Tensor]:
        """Files that hold the table but for some rows, and these ``[rows]``; no file: all rows are to be written."""
        if self.files is not None:
            return self.files, self.lineage.written_at.new_zeros(0)
        filed = self.lineage.filed
        if filed is None or filed.files is None or filed.clock > self.clock:
            return (), self.lineage.written_at.new_zeros(0)
        return filed.files, self.lineage.written_since(filed.clock)

    def filed_in(self, files: Sequence[RowFile]) -> None:
        """Files hold the table now."""
        self.files = tuple(files)
        filed = self.lineage.filed
        if filed is None or filed.clock <= self.clock:
            self.lineage.filed = self


@dataclass
class _Known:
    """The moment of a storage, and torch's count of writes at it."""

    moment: Moment
    writes: int


_known: WeakKeyDictionary[UntypedStorage, _Known] = WeakKeyDictionary()


def track(tables: Iterable[Tensor]) -> None:
    """Begins the histories of tables that have none."""
    for table in tables:
        if table.untyped_storage() not in _known:
            at(table, Moment(Lineage(len(table))))


def at(table: Tensor, moment: Moment) -> None:
    """Says that a table is at a moment."""
    _known[table.untyped_storage()] = _Known(moment, table._version)


def moment_of(table: Tensor) -> Moment | None:
    """The moment of a table; None where it has no history."""
    known = _known.get(table.untyped_storage())
    if known is None:
        return None
    if known.writes != table._version:
        at(table, Moment(Lineage(len(table))))
        return _known[table.untyped_storage()].moment
    return known.moment


def tracked(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Those of a module's tensors that have histories, and memory that no other of them has."""
    if not _known:
        return []
    plain = [tensor for tensor in tensors if tensor.layout == torch.strided]
    shares = Counter(tensor.untyped_storage()._cdata for tensor in plain)
    alone = [tensor for tensor in plain if shares[tensor.untyped_storage()._cdata] == 1]
    return [tensor for tensor in alone if tensor.untyped_storage() in _known]


def inherit(copy: Tensor, table: Tensor) -> None:
    """Says that a copy was made of a table."""
    if _known and (moment := moment_of(table)) is not None and (copy.dtype, copy.shape) == (table.dtype, table.shape):
        at(copy, moment)


def shared(table: Tensor) -> Tensor:
    """A copy of a table; of a large one it takes memory for what either writes from then on, and for the pages of rows that
    were written since their base was made. The table itself may move into such memory.
    """
    moment = moment_of(table)
    if moment is None or not can_share(table):
        found = table.detach().clone()
        inherit(found, table)
        return found
    lineage = moment.lineage
    base, rows = lineage.base() if lineage.base is not None else None, lineage.written_since(lineage.based_at)
    if base is None or lineage.based_at > moment.clock or not base.is_near(rows):
        base, rows = PageBase(table), rows[:0]
        lineage.base, lineage.based_at = ref(base), moment.clock
    if base_of(table) is not base:
        table.data = _mapped(base, table, moment, rows)
        at(table, moment)
    return _mapped(base, table, moment, rows)


def _mapped(base: PageBase, table: Tensor, moment: Moment, rows: Tensor) -> Tensor:
    """A mapping of a base that has the numbers of a table, which differs from it in some rows."""
    found = base.mapped()
    found[rows] = table.detach()[rows]
    at(found, moment)
    return found


@contextmanager
def writing(tables: Iterable[Tensor], rows: Tensor) -> Iterator[None]:
    """Lets a block write these rows of tables, and no others."""
    moments = [(table, moment) for table in tables if (moment := moment_of(table)) is not None]
    yield
    for table, moment in moments:
        at(table, moment.next(rows))


def content_hash(table: Tensor) -> int:
    """64 bits that stand for the numbers of a table: the sum of a hash of each row, of which those written since are computed.

    It finds a difference of any bits, and does not withstand someone who looks for one that it does not find.
    """
    moment = moment_of(table)
    if moment is None or moment.clock != moment.lineage.clock:
        return int(_hashed(table, torch.arange(len(table))).sum(dtype=np.uint64))
    lineage = moment.lineage
    rows = lineage.written_since(lineage.hashed_at)
    if not len(lineage.hashes):
        lineage.hashes = np.zeros(len(table), np.uint64)
    lineage.hashes[rows.numpy()] = _hashed(table, rows)
    lineage.hashed_at = lineage.clock
    return int(lineage.hashes.sum(dtype=np.uint64))


def is_finite(table: Tensor) -> bool:
    """Whether all numbers of a table are finite: those written since it was found so are looked at."""
    moment = moment_of(table)
    if moment is None or moment.clock != moment.lineage.clock:
        return bool(table.isfinite().all())
    lineage = moment.lineage
    found = all(bool(table[some].isfinite().all()) for some in _parts(lineage.written_since(lineage.finite_at)))
    if found:
        lineage.finite_at = lineage.clock
    return found


def _hashed(table: Tensor, rows: Tensor) -> NDArray[np.uint64]:
    """A hash of each of some rows ``[rows]``, of its index and its bytes."""
    found = [np.zeros(0, np.uint64)]
    for some in _parts(rows):
        data = table.detach()[some].cpu().unsqueeze(1).flatten(1).contiguous().view(torch.uint8).numpy()
        words = np.pad(data, ((0, 0), (0, -data.shape[1] % 8))).view(np.uint64)
        factors = _mixed(np.arange(1, words.shape[1] + 1, dtype=np.uint64)) | np.uint64(1)
        sums = (_mixed(words) * factors).sum(1, dtype=np.uint64)
        found.append(_mixed(sums + _mixed(some.numpy().astype(np.uint64))))
    return np.concatenate(found)


def _parts(rows: Tensor) -> tuple[Tensor, ...]:
    return torch.split(rows, HASHED_ROWS)


def _mixed(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finalizer of SplitMix64 (Steele et al. 2014), in which each bit depends on all."""
    words = words + np.uint64(0x9E3779B97F4A7C15)
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))
