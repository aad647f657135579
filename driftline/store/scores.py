"""Scores of served answers over time: buckets of a minute and of an hour, committed with the steps that scored them."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from driftline.store.connection import RedisConnection, store_errors

MINUTE, HOUR = 60, 3600
WIDTHS = {"minutes": MINUTE, "hours": HOUR}
"""The seconds that a bucket of each key covers."""
BINS = 50
"""How many parts of probability the ranking of two classes is counted in."""
MAX_NAMED = 50
"""The classes and the sources with the most labels that a bucket names."""


class Sums(msgspec.Struct, array_like=True):
    """Sums over labels: ``right`` and ``log_loss`` of a classification, ``absolute`` and ``squared`` errors of a regression.

    ``with_loss`` of the labels have a log loss: those whose class was known when the row was answered.
    """

    count: int = 0
    right: float = 0.0
    log_loss: float = 0.0
    absolute: float = 0.0
    squared: float = 0.0
    with_loss: int = 0

    def put(
        self, right: float = 0.0, log_loss: float | None = None, absolute: float = 0.0, squared: float = 0.0
    ) -> None:
        """Takes a label in."""
        self.count += 1
        self.right += right
        self.absolute += absolute
        self.squared += squared
        if log_loss is not None:
            self.log_loss += log_loss
            self.with_loss += 1

    def add(self, other: Sums) -> None:
        """Takes the labels of others in."""
        for name in self.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


class Bucket(msgspec.Struct, array_like=True):
    """The labels that came within one step of time, which began at ``time``, in seconds since 1970.

    ``ranking`` counts, of a model with two classes, the labels of each by the part of probability that the second was given.
    """

    time: int
    total: Sums = msgspec.field(default_factory=Sums)
    classes: dict[str, Sums] = {}
    sources: dict[str, Sums] = {}
    ranking: dict[int, tuple[int, int]] = {}

    def add(self, other: Bucket) -> None:
        """Takes the labels of another bucket in."""
        self.total.add(other.total)
        for mine, others in ((self.classes, other.classes), (self.sources, other.sources)):
            for name, sums in others.items():
                mine.setdefault(name, Sums()).add(sums)
        for place, (zeros, ones) in other.ranking.items():
            mine_zeros, mine_ones = self.ranking.get(place, (0, 0))
            self.ranking[place] = mine_zeros + zeros, mine_ones + ones

    @property
    def auc(self) -> float | None:
        """The area under the ROC curve; labels within one part of probability count as half in order."""
        ordered, zeros, ones, area = sorted(self.ranking.items()), 0, 0, 0.0
        for _, (some_zeros, some_ones) in ordered:
            area += some_ones * (zeros + some_zeros / 2)
            zeros, ones = zeros + some_zeros, ones + some_ones
        return area / (zeros * ones) if zeros and ones else None

    @property
    def stored(self) -> str:
        """Its text, with the classes and sources that have the most labels."""
        trimmed = msgspec.structs.replace(self, classes=largest(self.classes), sources=largest(self.sources))
        return msgspec.json.encode(trimmed).decode()


def merged(buckets: Iterable[Bucket], step: int) -> list[Bucket]:
    """Buckets of ``step`` seconds, oldest first, made of smaller ones."""
    found: dict[int, Bucket] = {}
    for bucket in buckets:
        begin = bucket.time // step * step
        found.setdefault(begin, Bucket(begin)).add(bucket)
    return [found[begin] for begin in sorted(found)]


class ScoreBuckets:
    """Reads the buckets of the model ``uid``."""

    def __init__(self, connection: RedisConnection, uid: str) -> None:
        self.connection = connection
        self.keys = connection.keys.of(uid)

    async def read(self, noun: str, since: float, until: float) -> list[Bucket]:
        """The buckets of ``minutes`` or ``hours`` that begin in a span of time, oldest first."""
        with store_errors():
            found = await self.connection.redis.zrange(getattr(self.keys, noun), since, f"({until}", byscore=True)
        return [msgspec.json.decode(text, type=Bucket) for text in found]

    async def newest(self) -> list[Bucket]:
        """The newest bucket of a minute and of an hour; one without labels where there is none."""
        with store_errors():
            async with self.connection.redis.pipeline(transaction=False) as pipe:
                for noun in WIDTHS:
                    pipe.zrange(getattr(self.keys, noun), -1, -1)
                found = await pipe.execute()
        return [msgspec.json.decode(texts[0], type=Bucket) if texts else Bucket(0) for texts in found]

    async def trim(self, before: float) -> None:
        """Removes the buckets that began before a time."""
        with store_errors():
            async with self.connection.redis.pipeline(transaction=False) as pipe:
                for noun in WIDTHS:
                    pipe.zremrangebyscore(getattr(self.keys, noun), "-inf", f"({before}")
                await pipe.execute()


def largest(sums: dict[str, Sums]) -> dict[str, Sums]:
    """Those of the most labels, the largest first."""
    return dict(sorted(sums.items(), key=lambda pair: -pair[1].count)[:MAX_NAMED])
