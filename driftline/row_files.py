"""Tables written as the rows that have changed: a file with all of them, and files with those that were written since.

Files of rows are joined as a counter of base four carries: there are few, each row is written again a few times, and once they
hold half as many rows as the table, it is written whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import safetensors.torch
import torch
from torch import Tensor

from driftline.errors import CorruptData, InvalidInput
from driftline.networks import bundle, row_history, sealed
from driftline.networks.row_history import Lineage, Moment, RowFile
from driftline.store.artifacts import Artifacts

MAX_SHARE = 0.5
"""The share of a table's rows that files of rows hold at most."""
JOINED = 3
"""So many files of rows that are no larger are joined with the next one."""
ROWS, VALUES = "rows", "values"


class RowFiles:
    """The files of the tables of the model ``uid``."""

    def __init__(self, artifacts: Artifacts, uid: str) -> None:
        self.artifacts = artifacts
        self.uid = uid

    def put(self, tables: Mapping[str, Tensor]) -> dict[str, list[RowFile]]:
        """Writes what has changed of each table; the files that hold it, the whole one first."""
        stored = {blob.name for blob in self.artifacts.stored(self.uid)} if tables else set()
        return {name: self._put(table, stored) for name, table in tables.items()}

    def _put(self, table: Tensor, stored: set[str]) -> list[RowFile]:
        moment = row_history.moment_of(table)
        assert moment is not None
        files, rows = moment.changed()
        # Files that no version has referred to for an hour may be gone.
        is_kept = bool(files) and all(file.digest in stored for file in files)
        held = sum(len(file.rows) for file in files if file.rows is not None) + len(rows)
        if not is_kept or held > MAX_SHARE * len(table):
            found = [self._put_whole(table)]
        elif len(rows):
            found = self._put_rows(table, files, rows)
        else:
            found = [*files]
        moment.filed_in(found)
        return found

    def _put_whole(self, table: Tensor) -> RowFile:
        digest, parts = sealed.digest_of(table), (sealed.header(table.dtype, table.shape), sealed.bytes_of(table))
        self.artifacts.put_parts(self.uid, digest, parts)
        return RowFile(digest, sum(map(len, parts)))

    def _put_rows(self, table: Tensor, files: Sequence[RowFile], rows: Tensor) -> list[RowFile]:
        kept = [*files]
        while len(kept) > JOINED and all(_is_joined(file, len(rows)) for file in kept[-JOINED:]):
            rows = torch.unique(torch.cat([rows, *(file.rows for file in kept[-JOINED:] if file.rows is not None)]))
            kept = kept[:-JOINED]
        data = safetensors.torch.save({ROWS: rows, VALUES: table.detach()[rows].contiguous()})
        return [*kept, RowFile(self.artifacts.put(self.uid, data), len(data), rows)]

    def read(self, files: Sequence[str]) -> Tensor:
        """A table from its files; :class:`CorruptData` where they do not fit each other."""
        with self.artifacts.reading(self.uid, files[0]) as reader:
            table = bundle.read_tensor(reader)
            whole = RowFile(files[0], reader.size)
        _apply(table, [whole], [self._rows(digest, table) for digest in files[1:]])
        return table

    def bring_up(self, table: Tensor, files: Sequence[str]) -> bool:
        """Writes into a table what it lacks of its files; False where it is of others, and all of it has to be read."""
        moment = row_history.moment_of(table)
        if moment is None or moment.files is None:
            return False
        common = 0
        while common < min(len(files), len(moment.files)) and moment.files[common].digest == files[common]:
            common += 1
        others = [file.rows for file in moment.files[common:] if file.rows is not None]
        if not common:
            return False
        patches = [self._rows(digest, table) for digest in files[common:]]
        covered = torch.zeros(len(table), dtype=torch.bool)
        for file, _ in patches:
            covered[file.rows] = True
        if not all(bool(covered[rows].all()) for rows in others):
            return False
        _apply(table, moment.files[:common], patches)
        return True

    def _rows(self, digest: str, table: Tensor) -> tuple[RowFile, Tensor]:
        data = self.artifacts.get(self.uid, digest)
        try:
            found = bundle.weights_from_bytes(data)
            rows, values = found[ROWS], found[VALUES]
        except (InvalidInput, KeyError):
            raise self._misfit(digest) from None
        is_alike = (values.shape, values.dtype) == (torch.Size((len(rows), *table.shape[1:])), table.dtype)
        if not is_alike or rows.dtype != torch.int64 or not bool(((rows >= 0) & (rows < len(table))).all()):
            raise self._misfit(digest)
        return RowFile(digest, len(data), rows), values

    def _misfit(self, digest: str) -> CorruptData:
        message = f"{self.artifacts.place_of(self.uid, digest)} does not hold rows of its table"
        return CorruptData(message, code="artifact_damaged", sha256=digest)


def _apply(table: Tensor, held: Sequence[RowFile], patches: Sequence[tuple[RowFile, Tensor]]) -> None:
    """Writes rows into a table that was as ``held`` files have it, or that had some of them already."""
    with torch.no_grad():
        for file, values in patches:
            table[file.rows] = values
    moment = Moment(Lineage(len(table)))
    moment.filed_in([*held, *(file for file, _ in patches)])
    row_history.at(table, moment)


def _is_joined(file: RowFile, count: int) -> bool:
    return file.rows is not None and len(file.rows) <= 2 * count
