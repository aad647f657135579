"""The ids of predictions, and of the entries in which they are stored.

A prediction id is known before the write: the model's uid, the nonce of the replica that answered, the entry, the token of the
request and the row. Entry and row say where it is, so that one read finds it. The token is 128 random bits:
who has not been told an id cannot guess it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

TOKEN_BYTES = 16
_NUMBER = "0|[1-9a-f][0-9a-f]{0,15}"
_ID = re.compile(
    rf"(?P<uid>[^-]{{1,32}})-(?P<nonce>[^-]{{1,32}})-(?P<ms>{_NUMBER})-(?P<seq>{_NUMBER})"
    rf"(-(?P<token>[0-9a-f]{{{2 * TOKEN_BYTES}}}))?-(?P<row>{_NUMBER})"
)


@dataclass(frozen=True, order=True)
class EntryId:
    """The id of a batch in its replica's stream: milliseconds of Redis' clock, and a number within them."""

    ms: int
    seq: int

    def __str__(self) -> str:
        return f"{self.ms}-{self.seq}"

    @classmethod
    def parse(cls, text: bytes) -> EntryId:
        ms, _, seq = text.partition(b"-")
        return cls(int(ms), int(seq))


@dataclass(frozen=True)
class PredictionId:
    """An id as clients hold it: ``uid-nonce-ms-seq-token-row``, numbers in hexadecimal.

    The token of an id of a former release is empty. None: the server itself looks there, and needs none.
    """

    uid: str
    nonce: str
    entry: EntryId
    row: int
    token: str | None = None

    @classmethod
    def parse(cls, text: str) -> PredictionId | None:
        """The parts of an id; None if it is not a prediction's."""
        found = _ID.fullmatch(text)
        # Written in another way, the numbers would be those of the same prediction, under another id.
        if found is None:
            return None
        ms, seq, row = (int(found[name], 16) for name in ("ms", "seq", "row"))
        return cls(found["uid"], found["nonce"], EntryId(ms, seq), row, found["token"] or "")

    @property
    def fact(self) -> str:
        """What a label of it is about, however its id is spelled."""
        token = f"-{self.token}" if self.token else ""
        return f"p:{self.uid}-{self.nonce}-{self.entry.ms:x}-{self.entry.seq:x}{token}-{self.row:x}"
