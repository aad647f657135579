"""What is known of records by their ids, and of facts by their names: a fact has one live label, however it is named.

A label is about a fact: the one that goes by its user's own key, else its prediction, else the item itself. The store keeps
under the name of each what :class:`Known` reads: the number of the record that is live, the digest of what was sent, and the
label, so that another label of the same fact is known as such.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import lru_cache

import msgspec

from driftline.records import Item, Label, Record
from driftline.store.owners import owner_of, shown_name, stored_name

_WEIGHT = struct.Struct("<d")
KEY = "key:"
"""How the name of a fact begins that goes by its user's key."""
ANY = "-"
"""The record is no revision: it is the first label of its fact, or it is refused."""


def fact_of_key(key: str) -> str:
    """The name of the fact that goes by a user's key, both as the store has them."""
    return stored_name(KEY + shown_name(key), owner_of(key))


def key_of_fact(fact: str) -> str | None:
    """The user's key that a fact goes by; None where it goes by none. Both as the store has them."""
    name = shown_name(fact)
    return stored_name(name.removeprefix(KEY), owner_of(fact)) if name.startswith(KEY) else None


@dataclass(frozen=True)
class Said:
    """What a record says: its label and weight; the number of the record that it takes the place of, and of the first label
    of its fact.
    """

    label: Label
    weight: float = 1.0
    revises: int | None = None
    first: int = 0

    @property
    def text(self) -> str:
        """Label and weight as the store keeps and compares them."""
        label = self.label
        text = _kept_list(label) if isinstance(label, list) else _kept(type(label).__name__, label)
        return text if self.weight == 1 else f"{text}.{_WEIGHT.pack(self.weight).hex()}"

    def is_of_label(self, other: Said) -> bool:
        """Whether both are of the same label, by value and type."""
        return self.text.partition(".")[0] == other.text.partition(".")[0]

    @classmethod
    def parse(cls, text: str) -> Said | None:
        """What :attr:`text` was made of, with what it revises; None where a former release has written it."""
        label, weight, revises, first, *_ = (*text.split("."), "", "", "", "")
        if not label:
            return None
        kept: Label = msgspec.msgpack.decode(bytes.fromhex(label))
        size = _WEIGHT.unpack(bytes.fromhex(weight))[0] if weight else 1.0
        return cls(
            kept,
            size,
            int(revises) if revises else None,
            int(first or 0),
        )


def _kept_list(label: Label) -> str:
    return msgspec.msgpack.encode(label).hex()


@lru_cache(maxsize=4096)
def _kept(kind: str, label: Label) -> str:
    """The text of a label; ``kind`` tells 1 from 1.0."""
    return msgspec.msgpack.encode(label).hex()


@dataclass(frozen=True)
class Known:
    """A record by its id, or the live one of a fact: number, digest, what it says, and the state that it is in for good.

    ``exception`` is ``rejected`` or ``quarantined`` with the reason why it was not learned, or ``revised`` with the number of
    the record that has taken its place. ``item`` is the id that the record goes by, where it was found under another name.
    """

    n: int
    mark: str
    said: Said | None
    exception: tuple[str, str] | None
    item: str | None = None

    @classmethod
    def parse(cls, text: bytes) -> Known:
        """What ``append.lua`` keeps: ``N:DIGEST[.LABEL[.WEIGHT[.REVISES.FIRST]]][:STATE:REASON]``."""
        n, digests, *end = text.decode().split(":", 2)
        mark, _, said = digests.partition(".")
        state, _, reason = end[0].partition(":") if end else ("", "", "")
        if state == "id":
            return cls(int(n), mark, Said.parse(said), None, reason)
        return cls(int(n), mark, Said.parse(said), (state, reason) if state else None)


@dataclass(frozen=True)
class Expectation:
    """What the writer of a record takes for granted about its fact: that ``n`` is the live record of it, whose id is ``item``,
    and ``first`` the first one.

    ``n`` is :data:`ANY` where the record is no revision, and 0 where it is one of a fact without a label.
    """

    n: str = ANY
    item: str | None = None
    first: int = 0

    @property
    def text(self) -> str:
        """As ``append.lua`` takes it."""
        return f"{self.n}.{self.first}" if self.first else self.n


def fact_of(record: Record) -> str:
    """The name of the fact that a record is about; a command's is its own id."""
    return record.fact or record.id if isinstance(record, Item) else record.id


ANYTHING = Expectation()


def said_by(record: Record) -> Said | None:
    """What a record says, if it is a label."""
    if not isinstance(record, Item):
        return None
    revises = record.revises
    return Said(record.label, record.weight, *((revises.n, revises.row) if revises is not None else ()))
