"""Scores over time, of labels whose class was not known when their row was answered too."""

from __future__ import annotations

import msgspec
import pytest

from app.routes.scores import shown
from driftline.records import Answer
from driftline.store.scores import ScoreBuckets, merged
from tests.worker.conftest import Bench, labelled

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("known", [0, 10])
async def test_labels_of_a_class_that_was_unknown_have_no_log_loss_and_are_learned(bench: Bench, known: int) -> None:
    store = await bench.model(classes="open")
    await store.log.append(labelled(32))
    await bench.train(store)
    items = labelled(20, first=32, answered=0)
    unknown = [msgspec.structs.replace(item, label="new", answer=Answer(1, None, b"")) for item in items[known:]]
    await store.log.append([*items[:known], *unknown])
    assert (await bench.train(store)).head.learned == 52
    buckets = merged(await ScoreBuckets(store.connection, store.uid).read("minutes", 0, 1e12), 3600)
    total = buckets[-1].total
    assert (sum(bucket.total.count for bucket in buckets), total.with_loss) == (20, known)
    found = shown(buckets[-1], has_classes=True)
    assert ("log_loss" in found) == bool(known)
    assert found.get("log_loss", 0.6931) == pytest.approx(0.6931, abs=1e-3)
