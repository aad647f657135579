"""What a log holds: items (labelled feedback) and commands, as they are written and read.

A record is whole: what the learner needs of the world stands in it, so that learning is a function of the log alone.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

STORE_FORMAT = 1
"""The format of what Redis holds: keys, records, steps. It grows when an older Driftline would misread it."""
MANIFEST_FORMAT = 3
"""The newest format of a version's or checkpoint's manifest: with tables by rows. Without these it is of format
2, and where all tensors are in one file of format 1."""
STATE_FORMAT = 3
"""The format of the learner's state in a checkpoint; :mod:`driftline.learning.old_states` reads former ones."""

Label = int | str | float | list[int | str | float]
"""A class, the number of a regression, or the numbers of its outputs in their order."""
Route = Literal["live", "canary", "pinned", "import"]
CommandKind = Literal[
    "retrain", "recipe", "rollback", "promote", "cancel", "pause", "resume", "compare", "forget", "release", "drop"
]


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was served for an item: the version, and its output.

    ``outputs`` is little-endian float32: the probabilities ``[classes]``, or the one value of a regression. ``label`` is the
    class that was answered, None while there was no class and for a regression. ``trace`` is of what was mixed, where a
    strategy mixes: log-probabilities ``[parts, classes]`` in little-endian float16, or the values ``[parts, outputs]`` of a
    regression in float32.
    """

    version: int
    label: int | str | None
    outputs: bytes
    trace: bytes = b""


class Revised(msgspec.Struct, frozen=True, omit_defaults=True):
    """The label that a revision takes the place of: its log number, what it said, and how much it counted.

    ``first`` is the number of the first label of the fact, by which the learner knows its row; 0: it is this one.
    """

    n: int
    label: Label
    weight: float = 1.0
    first: int = 0

    @property
    def row(self) -> int:
        """The number that the row of the fact was learned under."""
        return self.first or self.n


class Item(msgspec.Struct, frozen=True, tag="item", omit_defaults=True):
    """One labelled example. ``inputs`` holds each input's row, C order, little-endian, in the spec's dtype, by input name.

    A spec with one unnamed input calls it ``inputs``, and so does one with fields, whose row is one MessagePack map
    (:class:`driftline.rows.fields.FieldCoder`). ``answer`` is None for items that bring their own inputs. The label of one by
    the route ``import`` became known when ``delay`` more records had come. ``context`` is that of its trace, where it
    has one. ``fact`` is the name of what the label is about, where that is not the item's id; ``revises`` is the former label
    of the same fact, if it takes the place of one. ``caller`` is who has sent it: the id of an API key, or ``stream:`` and the
    name of the source that it was read from; empty: nobody in particular. ``source`` is the sender's own name within that.
    """

    id: str
    inputs: dict[str, bytes]
    label: Label
    weight: float = 1.0
    route: Route = "live"
    answer: Answer | None = None
    source: str | None = None
    time: float | None = None
    delay: int = 0
    context: str = ""
    fact: str = ""
    revises: Revised | None = None
    caller: str = ""


class Command(msgspec.Struct, frozen=True, tag="command"):
    """Something an admin told the model. ``arguments`` are plain JSON.

    ``actor`` is who told it, an API key's name, and ``reason`` why, as far as they are known. ``kind`` is a
    :data:`CommandKind`, or what another version of Driftline knows: its log is readable, and the command is
    refused.
    """

    id: str
    kind: str
    arguments: dict[str, Any] = {}
    actor: str = ""
    reason: str = ""


Record = Item | Command


def stream_caller(source: str) -> str:
    """The caller of what was read from the source of this name."""
    return f"stream:{source}"


ANYONE = "anyone"


def labeller_name(caller: str, source: str | None) -> str:
    """What a labeller is called: the id of its API key, or ``anyone``, and after a slash its own ``source``."""
    return (caller or ANYONE) if source is None else f"{caller or ANYONE}/{source}"


_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Record] = msgspec.msgpack.Decoder(Record)


def encode(record: Record) -> bytes:
    """The record as it stands in the log."""
    return _encoder.encode(record)


def decode(data: bytes) -> Record:
    """The record that :func:`encode` wrote."""
    return _decoder.decode(data)


class Plan(msgspec.Struct, frozen=True, omit_defaults=True):
    """Everything about a step that a clock, the load or a setting decided. With the records it determines the step.

    A step either takes items, or carries out the command with log number ``command``, or ends the running retrain job:
    ``finish`` names the job that is done, ``abandon`` the one that has failed. ``updates`` is how many gradient updates the
    items get; ``publish`` whether a candidate then goes to the gate; ``version`` the number that a version would get; ``job``
    the id of the retrain job that an alarm in this step may fork. ``set_aside`` is why the step's records were passed over
    instead. The items are learned ``at_once`` by so many, each of which gets the ``updates``, as in steps of their own; 0: all.
    ``halved`` is how many times the number of rows that an update replays was halved, since memory had run out.
    """

    updates: int = 0
    publish: bool = False
    version: int = 0
    job: str | None = None
    command: int | None = None
    finish: str | None = None
    abandon: str | None = None
    set_aside: str | None = None
    at_once: int = 0
    halved: int = 0
