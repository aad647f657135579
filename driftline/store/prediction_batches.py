"""What is recorded of one computed batch."""

from __future__ import annotations

from collections.abc import Collection
from typing import TypeVar

import msgspec

from driftline.records import Answer, Route

T = TypeVar("T", bytes, bytes | list[bytes])
V = TypeVar("V")


class PredictionBatch(msgspec.Struct, frozen=True, array_like=True):
    """One computed batch: the bytes of all rows (little-endian, C order), or of fields those of each; and one label a row.

    ``contexts`` are those of the traces that rows belong to, and ``keys`` the names that their users gave them, by row;
    ``tokens`` those of the requests, by the first row of each. Batches of former releases have no tokens. Nothing is left
    of the rows that are ``erased``. ``owners`` are whose the rows are, by the first row of each request whose owner is another
    one than that of the request before.

    Where sinks are told of predictions, the JSON of each row's message is ``head`` and its text of ``texts``; ``told`` counts
    those of the batches that were recorded of the model in this stream before; -1: nobody knows.
    """

    version: int
    route: Route
    rows: int
    inputs: dict[str, bytes | list[bytes]]
    outputs: bytes
    labels: list[int | str | None]
    traces: bytes = b""
    contexts: dict[int, str] = {}
    tokens: dict[int, bytes] = {}
    keys: dict[int, str] = {}
    erased: list[int] = []
    owners: dict[int, str] = {}
    head: bytes = b""
    texts: list[bytes] = []
    told: int = 0

    def row(self, index: int) -> tuple[dict[str, bytes], Answer]:
        """One row's inputs, and what was answered."""
        inputs = {name: _part(data, index, self.rows) for name, data in self.inputs.items()}
        outputs, trace = _part(self.outputs, index, self.rows), _part(self.traces, index, self.rows)
        return inputs, Answer(self.version, self.labels[index], outputs, trace)

    def without(self, rows: Collection[int]) -> PredictionBatch:
        """The same batch with nothing left of some rows; the others stay where they are."""
        return msgspec.structs.replace(
            self,
            inputs={name: _blanked(data, rows, self.rows) for name, data in self.inputs.items()},
            outputs=_blanked(self.outputs, rows, self.rows),
            labels=[None if row in rows else label for row, label in enumerate(self.labels)],
            traces=_blanked(self.traces, rows, self.rows),
            contexts={row: context for row, context in self.contexts.items() if row not in rows},
            keys={row: key for row, key in self.keys.items() if row not in rows},
            erased=sorted({*self.erased, *rows}),
            texts=[b"" if row in rows else text for row, text in enumerate(self.texts)],
        )

    def token(self, index: int) -> str:
        """The token of the request that a row belongs to, as it stands in its id; empty where there is none."""
        return _of_request(self.tokens, index, b"").hex()

    def owner(self, index: int) -> str:
        """Whose a row is; empty where it is no owner's."""
        return _of_request(self.owners, index, "")


def _of_request(values: dict[int, V], row: int, default: V) -> V:
    """The value of the request that a row belongs to, of values by their first rows."""
    first = max((each for each in values if each <= row), default=None)
    return default if first is None else values[first]


def _part(data: bytes | list[bytes], index: int, rows: int) -> bytes:
    if isinstance(data, list):
        return data[index]
    size = len(data) // rows
    return data[index * size : (index + 1) * size]


def _blanked(data: T, rows: Collection[int], count: int) -> T:
    if isinstance(data, list):
        return [b"" if row in rows else each for row, each in enumerate(data)]
    size = len(data) // count
    found = bytearray(data)
    for row in rows:
        found[row * size : (row + 1) * size] = bytes(size)
    return bytes(found)


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(PredictionBatch)


def encode_batch(batch: PredictionBatch) -> bytes:
    """The batch as it stands in the store."""
    return _encoder.encode(batch)


def decode_batch(data: bytes) -> PredictionBatch:
    """The batch that :func:`encode_batch` wrote, or a former release did."""
    return _decoder.decode(data)
