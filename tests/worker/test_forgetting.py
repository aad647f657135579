"""What is forgotten: nothing of it is left in the store or in a file, and it is as if it had never been learned."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec
import numpy as np
import pytest
import torch

from driftline.learning.learner import Learner
from driftline.learning.promotion.gate import Decision
from driftline.learning.relearning import RelearnedLearner
from driftline.networks.model import Model
from driftline.records import Command, Item, Revised
from driftline.store.encryption import Encryption, EncryptionKey
from driftline.store.events import BEGINNING, EventLog
from driftline.store.facts import Expectation, fact_of_key
from driftline.store.prediction_batches import PredictionBatch
from driftline.store.predictions import PredictionReader, PredictionWriter
from driftline.store.selection import Selection, find
from tests.faults.test_trainer import dying_at
from tests.worker.conftest import Bench, labelled
from tests.worker.labellers import QUICK, of_five
from tests.worker.running import add, alarms, state_is, training
from worker.model_store import ModelStore
from worker.recovery import recover
from worker.relearning import Relearning
from worker.trainer import Trainer

pytestmark = pytest.mark.anyio

RECIPE: dict[str, Any] = {"trigger": {"labels": 32, "seconds": 0}}
MIXTURE = RECIPE | {"strategy": "experts"}
JOB = "job"
POINTS = ("forget.relearned", "forget.committed", "forget.receipts", "forget.predictions", "forget.erased")


def forget(**selection: Any) -> Command:
    return Command(JOB, "forget", selection, "anna", "a request")


async def report_of(store: ModelStore) -> dict[str, Any]:
    found = await store.commit_log.job(JOB)
    assert found is not None and found.state == "succeeded" and found.report is not None, found
    return found.report


async def everything(store: ModelStore) -> AsyncIterator[tuple[str, bytes]]:
    """Each key of the model as the store keeps it, and what each of its files holds."""
    redis = store.connection.redis
    await redis.config_set("rdbcompression", "no")
    for key in [key async for key in redis.scan_iter(count=1000) if key.decode().startswith(store.keys.base)]:
        yield key.decode(), await redis.dump(key)
    for path in (store.artifacts.root / store.uid).iterdir():
        yield path.name, store.artifacts.encryption.decrypted_whole(path.read_bytes(), path.name)


async def where(store: ModelStore, *items: Item) -> list[str]:
    """Where the rows of items are found, whole or in part."""
    parts = [item.inputs["inputs"][:12] for item in items]
    return [name async for name, data in everything(store) if any(part in data for part in parts)]


async def learned(bench: Bench, store: ModelStore, items: Sequence[Item], at_once: int = 64) -> Trainer:
    """Learned in parts, so that there are checkpoints and versions of many places."""
    for first in range(0, len(items), at_once):
        await store.log.append(items[first : first + at_once])
        trainer = await bench.train(store)
    return trainer


async def told(bench: Bench, store: ModelStore, **selection: Any) -> tuple[Trainer, dict[str, Any]]:
    await store.log.append([forget(**selection)])
    trainer = await bench.train(store)
    return trainer, await report_of(store)


async def kept(store: ModelStore) -> list[Item]:
    return await store.log.latest(await store.log.newest(), 10**6)


def small_parts(bench: Bench) -> None:
    """Former checkpoints a few records apart."""
    bench.settings = bench.settings.model_copy(update={"log_keep": 320})


@pytest.mark.parametrize("keys", [[], [EncryptionKey("2026", b"o" * 32)]], ids=["plain", "encrypted"])
async def test_nothing_of_it_is_left_and_resends_do_not_bring_it_back(bench: Bench, keys: list[EncryptionKey]) -> None:
    bench.artifacts.encryption = Encryption(keys)
    small_parts(bench)
    items = labelled(320, answered=1)
    store = await bench.model(recipe=MIXTURE)
    await learned(bench, store, items)
    gone = [items[170], items[250]]
    assert len(await where(store, *gone)) > 3
    trainer, report = await told(bench, store, ids=["i170", "i250", "nobody"])
    assert (report["labels"], report["learned"], report["unlearned"], report["unknown"]) == (2, 2, True, ["nobody"])
    assert report["from_record"] == 129, "the last checkpoint before the first of them"
    assert await where(store, *gone) == [] and await where(store, items[99])
    known = await store.log.find("i170")
    assert known is not None and known.exception == ("forgotten", "it was erased")
    assert [each.status for each in await store.log.append(gone)] == ["duplicate"] * 2
    other = msgspec.structs.replace(items[170], label=7, revises=Revised(171, 1))
    states = await store.log.append(
        [other, msgspec.structs.replace(items[250], label=7)], None, None, [Expectation("171"), Expectation()]
    )
    assert [each.status for each in states] == ["conflict"] * 2
    assert (await kept(store))[-190:] == [item for item in items if item not in gone][-190:]
    head = await store.commit_log.head()
    versions = await store.commit_log.versions()
    assert [each.version for each in versions if each.offset >= 171] == [head.version]
    assert versions[0].offset < 171, "those from before are kept"
    # It goes on from there, also after a crash.
    await store.log.append(labelled(64, first=1000, answered=1))
    digest = (await bench.train(store)).learner.digest()
    again = await recover(store, trainer.committer.compute)
    assert again.learner.digest() == digest and not again.is_restarted
    assert await where(store, *gone) == [] and await alarms(store) == {}


async def test_wrong_labels_of_a_source_are_undone(bench: Bench) -> None:
    items = labelled(64) + [msgspec.structs.replace(item, source="bad") for item in labelled(192, first=64, turn=-1)]
    store = await bench.model(recipe=MIXTURE)
    before = accuracy((await learned(bench, store, items)).learner)
    trainer, report = await told(bench, store, source="bad")
    assert (report["labels"], report["relearned"], report["unlearned"]) == (192, 64, True)
    assert before < 0.5 and accuracy(trainer.learner) > 0.8
    live = await asyncio.to_thread(store.version_files.restored, (await store.commit_log.head()).manifest, ())
    assert accuracy(live) == accuracy(trainer.learner), "it is served, too"


async def test_what_is_kept_of_one_who_lies_stays_but_for_what_is_forgotten(bench: Bench) -> None:
    items = of_five(labelled(400))
    store = await bench.model(recipe=RECIPE | QUICK)
    before = (await learned(bench, store, items, 100)).learner.trust
    liar, kept_before = before.find("k0"), [item.id for _, item in before.held]
    assert liar is not None and liar.state == "quarantined" and len(kept_before) > 10
    honest, lie = items[101], next(item for item in items if item.id == kept_before[3])
    trainer, report = await told(bench, store, ids=[honest.id, lie.id])
    after, still = trainer.learner.trust, [each for each in kept_before if each != lie.id]
    assert report["labels"] == 2 and [item.id for _, item in after.held] == still
    assert after.find("k0") == liar and sum(each.is_learned for each in after.labellers) == 4
    assert await where(store, honest, lie) == []
    trained = trainer.learner.replay_buffer.examples
    counted = trained.numbers[trained.weights > 0].tolist()
    assert len(counted) > 200 and not any((n - 1) % 5 == 0 for n in counted), "of what it sent nothing counts"
    await store.log.append([Command("c1", "release", {"labeller": "k0"}), *labelled(5, 600)])
    released = (await bench.train(store)).learner
    assert not released.trust.held and not released.trust.released
    assert released.learned == trainer.learner.learned + len(still) + 5


def accuracy(found: Learner | Model) -> float:
    """Of a learner, or of a model, on rows that it has not learned."""
    items = labelled(400, first=5000)
    rows = torch.from_numpy(np.stack([np.frombuffer(item.inputs["inputs"], np.float32) for item in items]))
    module = found.served if isinstance(found, Learner) else found.module
    return float((module.eval().predict({"inputs": rows}).argmax(1) == (rows[:, 0] > 0)).float().mean())


@pytest.mark.parametrize("name", POINTS)
async def test_a_trainer_that_dies_there_forgets_it_all_the_same(
    bench: Bench, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_parts(bench)
    items = labelled(256, answered=1)
    # The mixture of experts, which takes four times as long, dies once; elsewhere it is the place alone that matters.
    store = await bench.model(recipe=MIXTURE if name == POINTS[0] else RECIPE)
    live = (await learned(bench, store, items)).committer
    records = await find(store.log, Selection(ids=("i100", "i200")), 1000, 256)
    expected = await Relearning.begin(store, live.compute, live.learner, live.head, records, 1000, 257)
    await expected.advance(256, 60)
    expected.learner.judged_beside(live.learner)
    expected.learner.take_place_of(live.learner, live.head.newest + 1, lambda n, item: True)
    await store.log.append([forget(ids=["i100", "i200"])])
    with dying_at(name, 1, monkeypatch) as reached:
        await bench.train(store)
    assert reached, "the place was not reached"
    trainer = await bench.train(store)
    assert trainer.learner.digest() == expected.learner.digest()
    report = await report_of(store)
    assert (report["labels"], report["unlearned"]) == (2, True)
    assert await where(store, items[100], items[200]) == []
    assert len(await kept(store)) == 254 and await alarms(store) == {}
    found = await EventLog(store.connection, store.uid).after(BEGINNING)
    assert [each.event.kind for each in found].count("forget") == 1
    # What comes next is learned, and a recovery comes to the same.
    await store.log.append(labelled(64, first=900, answered=1))
    digest = (await bench.train(store)).learner.digest()
    again = await recover(store, trainer.committer.compute)
    assert again.learner.digest() == digest and not again.is_restarted


async def test_what_waits_is_forgotten_before_it_is_learned(bench: Bench) -> None:
    items = labelled(96, answered=1)
    store = await bench.model(recipe=RECIPE)
    await learned(bench, store, items[:64])
    before = await store.commit_log.head()
    await store.log.append([Command("p", "pause"), *items[64:], forget(ids=["i70"]), Command("r", "resume")])
    trainer, report = await bench.train(store), await report_of(store)
    assert (report["labels"], report["learned"]) == (1, 0)
    assert await where(store, items[70]) == []
    head = await store.commit_log.head()
    assert head.learned == before.learned + 31 and trainer.learner.learned == 95
    assert [each.version for each in await store.commit_log.versions()][:2] == [1, 2], "no version has learned it"


async def test_labels_of_a_source_in_a_time_with_all_that_is_known_of_their_facts(bench: Bench) -> None:
    items = labelled(96, answered=1)
    own = {"source": "crm", "time": 50.0}
    items[10] = msgspec.structs.replace(items[10], **own)
    items[20] = msgspec.structs.replace(items[20], source="crm", time=99.0)
    items[30] = msgspec.structs.replace(items[30], source="shop", time=50.0)
    store = await bench.model(recipe=RECIPE)
    await learned(bench, store, items)
    revision = msgspec.structs.replace(
        items[10], id="again", fact="i10", label=0, source=None, revises=Revised(11, items[10].label)
    )
    (receipt,) = await store.log.append([revision], None, None, [Expectation("11", None, 11)])
    assert receipt.status == "queued"
    await bench.train(store)
    _, report = await told(bench, store, source="crm", until=60.0)
    assert report["labels"] == 2, "the label of the source, and its correction by another one"
    assert await where(store, items[10]) == []
    assert {"i20", "i30"} <= {item.id for item in await kept(store)} and "again" not in {
        item.id for item in await kept(store)
    }
    # What comes from the source later is not meant.
    later = await find(store.log, Selection(source="crm", until=60.0), 1, 0)
    assert not later.numbers


async def test_predictions_under_a_key_go_with_their_label_and_without_one(bench: Bench) -> None:
    items = labelled(64, answered=1)
    store = await bench.model(recipe=RECIPE)
    writer = PredictionWriter(store.connection, horizon=600, budget=2**20)
    inputs: dict[str, bytes | list[bytes]] = {"inputs": b"".join(item.inputs["inputs"] for item in items)}
    keys = {0: "order-1", 1: "order-2", 2: "order-1"}
    entry = writer.next_entry()
    writer.record(store.uid, entry, PredictionBatch(1, "live", 64, inputs, bytes(64 * 8), [0] * 64, keys=keys))
    await writer.flush()
    reader = PredictionReader(store.connection, store.uid, 600, 0, 0)
    found = (await reader.find_keys(["order-1"]))["order-1"]
    assert not isinstance(found, Exception)
    await store.log.append([Item("mine", found.inputs, 1, answer=found.answer, fact=fact_of_key("order-1"))])
    await bench.train(store)
    prefix = writer.prefix(store.uid, entry)
    _, report = await told(bench, store, keys=["order-1"], ids=[f"{prefix}5", "mine"])
    assert (report["labels"], report["predictions"]) == (1, 3) and "unknown" not in report
    assert await where(store, items[0], items[2], items[5]) == []
    after = await reader.find_keys(["order-1", "order-2"])
    assert isinstance(after["order-1"], Exception) and not isinstance(after["order-2"], Exception)
    rest = await reader.find([f"{prefix}{row}" for row in (0, 3, 5)])
    assert [isinstance(rest[f"{prefix}{row}"], Exception) for row in (0, 3, 5)] == [True, False, True]
    writer.record(store.uid, writer.next_entry(), PredictionBatch(1, "live", 1, {"inputs": bytes(32)}, bytes(8), [0]))
    await writer.flush()
    assert writer.dropped == 0, "predictions are recorded on in the same stream"


async def test_what_is_too_old_goes_and_the_weights_stay_which_is_said(bench: Bench) -> None:
    items = labelled(256, answered=1)
    bench.settings = bench.settings.model_copy(update={"log_keep": 64})
    store = await bench.model(recipe=RECIPE)
    trainer = await learned(bench, store, items)
    oldest = (await store.log.since(1, 1))[0].n
    assert oldest > 101 and await where(store, items[100])
    network = {name: value.clone() for name, value in trainer.learner.module.network.state_dict().items()}
    trainer, report = await told(bench, store, ids=["i100"])
    assert (report["unlearned"], report["labels"]) == (False, 0) and "for good" in report["kept"]
    assert await where(store, items[100]) == []
    assert network.keys() == trainer.learner.module.network.state_dict().keys()
    assert len(trainer.learner.replay_buffer) > 0, "what the log holds is remembered again"


async def test_what_the_gate_refuses_is_not_served_and_the_rows_go(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = labelled(128, answered=1)
    store = await bench.model(recipe=RECIPE)
    await learned(bench, store, items)
    refused = Decision(False, "worse: as this test has it")
    monkeypatch.setattr(RelearnedLearner, "judged_beside", lambda self, live: refused)
    _, report = await told(bench, store, ids=["i100"])
    assert (report["unlearned"], report["gate"]) == (False, refused.reason) and "refused" in report["kept"]
    assert await where(store, items[100]) == []


async def test_commands_that_came_since_are_carried_out_again_but_those_about_what_is_forgotten(bench: Bench) -> None:
    items = labelled(192, answered=1)
    store = await bench.model(recipe=RECIPE)
    await learned(bench, store, items[:128])
    tainted = (await store.commit_log.head()).version
    await store.log.append([Command("c", "recipe", {"recipe": {"memory": {"size": 50}}}), *items[128:160]])
    await bench.train(store)
    retrain = {"recipe": {}, "edits": [{"type": "widen", "layer": "linear1", "features": 96}], "epochs": 1}
    await store.log.append([Command("retrain", "retrain", retrain), Command("back", "rollback", {"version": tainted})])
    await bench.train(store)
    await learned(bench, store, items[160:])
    trainer, report = await told(bench, store, ids=["i100"])
    assert trainer.learner.spec.recipe.memory.size == 50
    assert any("rollback" in each for each in report["skipped"])
    assert await where(store, items[100]) == []


async def test_a_retrain_that_learns_what_is_forgotten_ends_and_one_that_is_asked_for_waits(bench: Bench) -> None:
    items = labelled(128, answered=1)
    store = await bench.model(recipe=RECIPE)
    await learned(bench, store, items)
    job = {"recipe": {}, "edits": [], "epochs": 1000}
    later = {"recipe": {}, "edits": [], "epochs": 1}
    async with training(bench, store) as trainer:
        await add(store, trainer, [Command("long", "retrain", job)])
        await state_is(store, "long", "running")
        await add(store, trainer, [forget(ids=["i100"]), Command("later", "retrain", later)])
        for name, state in ((JOB, "succeeded"), ("long", "cancelled"), ("later", "succeeded")):
            await state_is(store, name, state)
    assert await where(store, items[100]) == []


async def test_the_names_that_were_given_are_nowhere_and_the_event_says_how_much(bench: Bench) -> None:
    items = labelled(64, answered=1)
    store = await bench.model(recipe=RECIPE)
    await learned(bench, store, items)
    await told(bench, store, keys=["somebody@example.com"], ids=["i10"])
    found = [name async for name, data in everything(store) if b"somebody@example.com" in data]
    assert found == [store.keys.jobs], "the job says which names it did not know"
    (event,) = [
        each.event
        for each in await EventLog(store.connection, store.uid).after(BEGINNING)
        if each.event.kind == "forget"
    ]
    assert (event.actor, event.reason, event.details["labels"]) == ("anna", "a request", 1)
