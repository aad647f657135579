"""The scores of served answers, added to the buckets of the time at which their labels came."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from itertools import groupby

from driftline.learning.monitoring.monitor import ServedRow
from driftline.spec import ModelSpec
from driftline.store.scores import BINS, MINUTE, WIDTHS, Bucket, ScoreBuckets, Sums


class OpenBuckets:
    """The buckets that are being filled: one of a minute, one of an hour."""

    def __init__(self, buckets: ScoreBuckets) -> None:
        self.buckets = buckets
        self._newest = {noun: Bucket(0) for noun in WIDTHS}

    async def recover(self) -> None:
        """Goes on with the buckets as they were committed."""
        self._newest = dict(zip(WIDTHS, await self.buckets.newest(), strict=True))

    def add(
        self, spec: ModelSpec, classes: Sequence[int | str], served: Sequence[ServedRow], times: Mapping[int, float]
    ) -> dict[str, list[Bucket]]:
        """Takes the answers of a step in; the buckets that it has changed, to be committed with it.

        Args:
            times: when each record of the step came, by its log number. A label of history that has waited came with them.
        """
        newest = max(times.values(), default=0.0)
        changed: dict[str, dict[int, Bucket]] = {noun: {} for noun in WIDTHS}
        live = [(item, row) for item, row in served if item.route == "live"]
        for minute, rows in groupby(live, key=lambda pair: int(times.get(pair[1].n, newest)) // MINUTE * MINUTE):
            found = summed(spec, classes, list(rows), minute)
            for noun in WIDTHS:
                bucket = self._bucket(noun, minute)
                bucket.add(found)
                changed[noun][bucket.time] = bucket
        return {noun: list(buckets.values()) for noun, buckets in changed.items() if buckets}

    def _bucket(self, noun: str, minute: int) -> Bucket:
        """The newest bucket, or the next one: a clock that was set back opens no former one again."""
        begin = minute // WIDTHS[noun] * WIDTHS[noun]
        if begin > self._newest[noun].time:
            self._newest[noun] = Bucket(begin)
        return self._newest[noun]


def summed(spec: ModelSpec, classes: Sequence[int | str], served: Sequence[ServedRow], time: int) -> Bucket:
    """The scores of some answers as one bucket."""
    bucket, has_classes, several = Bucket(time), spec.kind.has_classes, spec.kind.is_multilabel
    second = classes[1] if spec.kind.has_one_class and len(classes) == 2 else None
    for item, row in served:
        error = row.error
        scores = (1 - error, row.loss) if has_classes else (0.0, None, error, error * error)
        bucket.total.put(*scores)
        if item.source is not None:
            bucket.sources.setdefault(item.source, Sums()).put(*scores)
        if several:
            for place in row.truth:
                bucket.classes.setdefault(str(classes[place]), Sums()).put(float(place in row.answer))
        elif has_classes:
            bucket.classes.setdefault(str(item.label), Sums()).put(1 - error)
        if second is not None and item.answer is not None and len(item.answer.outputs) == 8:
            _rank(bucket, item.answer.outputs, is_second=item.label == second)
    return bucket


def _rank(bucket: Bucket, outputs: bytes, is_second: bool) -> None:
    probability = struct.unpack_from("<f", outputs, 4)[0]
    if not 0 <= probability <= 1:  # also where it is no number
        return
    place = min(BINS - 1, int(BINS * probability))
    zeros, ones = bucket.ranking.get(place, (0, 0))
    bucket.ranking[place] = (zeros, ones + 1) if is_second else (zeros + 1, ones)
