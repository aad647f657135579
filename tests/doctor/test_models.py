"""Every kind of damage to a model is found and named, and a healthy one is well."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest

from driftline.doctor import Finding
from driftline.records import Command
from driftline.store.catalog import Catalog
from driftline.store.connection import RedisConnection
from tests.doctor.conftest import Look, only, worse
from tests.worker.conftest import labelled
from worker.model_store import ModelStore

pytestmark = pytest.mark.anyio


async def test_a_healthy_model_is_well(model: ModelStore, look: Look) -> None:
    findings = await look()
    assert worse(findings) == []
    said = {finding.check: finding.message for finding in findings}
    assert "records 1 to 128" in said["log"] and "all whole" in said["artifacts"]
    assert {"store", "durability", "eviction", "memory", "disk", "keys", "packages", "steps", "lease"} <= set(said)


async def test_nothing_is_changed(model: ModelStore, look: Look, tmp_path: Path) -> None:
    async def state() -> tuple[list[Any], list[Any]]:
        redis = model.connection.redis
        keys = sorted([key async for key in redis.scan_iter(f"{model.connection.keys.prefix}*")])
        files = sorted((path, path.stat().st_mtime_ns) for path in tmp_path.rglob("*"))
        return [(key, await redis.dump(key)) for key in keys], files

    await Catalog(model.connection).names()  # As every process does: it gives a new store its id.
    before = await state()
    await look()
    assert await state() == before


async def test_a_new_model_is_well(model: ModelStore, look: Look) -> None:
    """No record, no step, no checkpoint yet."""
    for key in (model.keys.log, model.keys.last, model.keys.steps, model.keys.versions):
        await model.connection.redis.delete(key)
    head = await model.commit_log.head()
    first = {
        "version": 1,
        "manifest": head.manifest,
        "parent": None,
        "step": 0,
        "offset": 0,
        "created": 0.0,
        "reason": "created",
    }
    await model.connection.redis.hset(model.keys.versions, "1", msgspec.json.encode(first))
    await model.connection.redis.delete(model.keys.head)
    await model.connection.redis.hset(
        model.keys.head, mapping={"version": 1, "manifest": head.manifest, "step": 0, "offset": 0, "learned": 0}
    )
    found = worse(await look())
    assert {finding.check for finding in found} <= {"orphans"}


def blob(model: ModelStore, digest: str) -> Path:
    return model.artifacts.root / model.uid / digest


def weights(model: ModelStore, manifest: str) -> str:
    """The file that a manifest names."""
    (file,) = msgspec.json.decode(blob(model, manifest).read_bytes())["files"].values()
    return str(file["sha256"])


async def test_a_missing_live_version_names_a_way_back(model: ModelStore, look: Look) -> None:
    head, versions = await model.commit_log.head(), await model.commit_log.versions()
    gone = blob(model, head.manifest)
    gone.unlink()
    found = only(await look(), "artifacts", "error")
    assert str(gone) in found.message and f"the live version {head.version}" in found.message
    assert found.advice is not None
    assert f"driftline rollback weather {versions[-2].version}" in found.advice


async def test_a_damaged_file_of_a_checkpoint_is_found(model: ModelStore, look: Look) -> None:
    head = await model.commit_log.head()
    assert head.checkpoint is not None
    file = blob(model, weights(model, head.checkpoint.manifest))
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    found = only(await look(), "artifacts", "error")
    assert f"{file} is damaged" in found.message and f"the checkpoint of step {head.checkpoint.step}" in found.message


async def test_a_damaged_older_version_is_found(model: ModelStore, look: Look) -> None:
    version = (await model.commit_log.versions())[0]
    blob(model, version.manifest).write_bytes(b"{}")
    found = only(await look(), "artifacts", "error")
    assert f"version {version.version} is damaged" in found.message


async def test_a_manifest_of_another_model_is_found(model: ModelStore, look: Look) -> None:
    version = (await model.commit_log.versions())[0]
    manifest = msgspec.json.decode(blob(model, version.manifest).read_bytes())
    other = model.artifacts.put(model.uid, msgspec.json.encode(manifest | {"model": "0" * 12}))
    changed = msgspec.structs.replace(version, manifest=other)
    await model.connection.redis.hset(model.keys.versions, str(version.version), msgspec.json.encode(changed))
    assert "belongs to another model" in only(await look(), "artifacts", "error").message


async def remove_record(model: ModelStore, n: int) -> None:
    assert await model.connection.redis.xdel(model.keys.log, f"{n}-0") == 1


async def test_a_gap_before_what_waits_is_an_error(model: ModelStore, look: Look) -> None:
    await model.log.append(labelled(8, 128))
    await remove_record(model, 131)
    found = only(await look(), "log", "error")
    assert "lacks record 131 (log_gap)" in found.message and "the worker stops there" in found.message
    assert found.advice is not None and "backup" in found.advice


async def test_lost_records_at_the_end_are_an_error(model: ModelStore, look: Look) -> None:
    await model.log.append(labelled(8, 128))
    await remove_record(model, 135)
    await remove_record(model, 136)
    assert "records 135 to 136" in only(await look(), "log", "error").message


async def test_a_whole_log_that_is_lost_is_an_error(model: ModelStore, look: Look) -> None:
    await model.log.append(labelled(8, 128))
    await model.connection.redis.delete(model.keys.log)
    assert "to 136" in only(await look(), "log", "error").message


async def test_a_gap_that_a_recovery_does_not_meet_is_a_warning(model: ModelStore, look: Look) -> None:
    await remove_record(model, 3)
    await remove_record(model, 100)
    assert "records 3, 100" in only(await look(), "log", "warning").message


async def test_a_gap_after_the_checkpoint_is_an_error(model: ModelStore, look: Look) -> None:
    await model.connection.redis.hset(model.keys.head, mapping={"checkpoint_offset": 64})
    await remove_record(model, 100)
    assert "restarts from the live version" in only(await look(), "log", "error").message


async def test_a_missing_command_that_waits_is_an_error(model: ModelStore, look: Look) -> None:
    (receipt,) = await model.log.append([Command("c1", "pause")])
    await remove_record(model, receipt.n)
    assert f"record {receipt.n}" in only(await look(), "log", "error").message


async def test_a_log_that_is_trimmed_is_well(model: ModelStore, look: Look) -> None:
    head = await model.commit_log.head()
    assert head.older_checkpoint is not None and head.older_checkpoint.offset == 64
    await model.connection.redis.xtrim(model.keys.log, minid="65-0", approximate=False)
    assert worse(await look()) == []
    await model.connection.redis.xtrim(model.keys.log, minid="67-0", approximate=False)
    assert "records 65 to 66" in only(await look(), "log", "warning").message


async def test_a_head_beyond_the_log_is_an_error(model: ModelStore, look: Look) -> None:
    await model.connection.redis.set(model.keys.last, 100)
    assert "the store has lost writes" in only(await look(), "log", "error").message


@pytest.mark.parametrize(("is_newest", "level"), [(True, "error"), (False, "warning")])
async def test_a_missing_step_is_found(model: ModelStore, look: Look, is_newest: bool, level: str) -> None:
    head = await model.commit_log.head()
    assert head.checkpoint is not None and head.older_checkpoint is not None
    if is_newest:
        earlier = {"checkpoint_step": head.older_checkpoint.step, "checkpoint_offset": head.older_checkpoint.offset}
        await model.connection.redis.hset(model.keys.head, mapping=earlier)
    await model.connection.redis.xdel(model.keys.steps, f"{head.step}-0")
    assert f"lacks step {head.step} " in only(await look(), "steps", level).message


async def test_a_live_version_without_history_is_an_error(model: ModelStore, look: Look) -> None:
    head = await model.commit_log.head()
    await model.connection.redis.hdel(model.keys.versions, str(head.version))
    found = only(await look(), "models", "error")
    assert found.advice is not None and "stop every worker" in found.advice


@pytest.mark.parametrize("noun", ["head", "meta"])
async def test_a_model_that_cannot_be_read_does_not_hide_the_others(model: ModelStore, look: Look, noun: str) -> None:
    catalog = Catalog(model.connection)
    spec = (await catalog.get("weather")).spec | {"name": "other"}
    await catalog.create("0" * 12, spec, (await model.commit_log.versions())[0])
    shutil.copytree(model.artifacts.root / model.uid, model.artifacts.root / ("0" * 12))
    await model.connection.redis.delete(getattr(model.keys, noun))
    findings = await look()
    assert any("weather: what the store keeps of it cannot be read" in finding.message for finding in findings)
    assert any(finding.message.startswith("other: the log") for finding in findings)


async def test_a_history_that_is_not_json_is_an_error(model: ModelStore, look: Look) -> None:
    await model.connection.redis.hset(model.keys.versions, "1", b"{torn")
    assert "cannot be read" in only(await look(), "models", "error").message


async def test_labels_that_nobody_owns_are_told(model: ModelStore, look: Look) -> None:
    await model.log.append(labelled(3, 128))
    await model.connection.redis.delete(model.keys.lease)
    found = only(await look(), "lease", "warning")
    assert "3 labels" in found.message and "driftline worker" in str(found.advice)


async def test_a_label_that_waits_for_long_is_told(model: ModelStore, look: Look) -> None:
    seconds, _ = await model.connection.redis.time()
    await model.connection.redis.xadd(model.keys.log, {"d": b"", "t": (seconds - 7300) * 1000}, id="129-0")
    await model.connection.redis.set(model.keys.last, 129)
    found = only(await look(), "lag", "warning")
    assert "1 label waiting (0 bytes), the oldest for 2.0 hours" in found.message


async def test_a_log_that_fills_by_its_bytes_is_told(model: ModelStore, look: Look) -> None:
    await model.log.append(labelled(1, 128))
    await model.connection.redis.hset(model.keys.head, "bytes", -int(0.9 * 2**30))
    found = only(await look(), "lag", "warning")
    assert "MiB), the oldest for" in found.message
    await model.connection.redis.hset(model.keys.head, "bytes", -(2**30))
    assert "the log is full" in only(await look(), "lag", "error").message


async def test_a_paused_model_is_well(model: ModelStore, look: Look) -> None:
    await model.log.append(labelled(3, 128))
    await model.connection.redis.hset(model.keys.meta, "paused", 1)
    findings: list[Finding] = await look()
    assert worse(findings) == []
    assert any("driftline resume weather" in finding.message for finding in findings)


async def test_an_alarm_is_told_with_its_advice(model: ModelStore, look: Look) -> None:
    await model.alarm("recovery_diverged", "step 3 gave other weights")
    found = only(await look(), "alarms", "warning")
    assert "step 3 gave other weights" in found.message and "torch build" in str(found.advice)


async def test_orphans_are_counted_once_they_are_old(model: ModelStore, look: Look) -> None:
    digest = model.artifacts.put(model.uid, b"x" * 2048)
    assert worse(await look()) == []
    os.utime(blob(model, digest), (0, 0))
    assert "1 file (2.0 KiB)" in only(await look(), "orphans", "warning").message


async def test_a_folder_of_no_model_is_told(model: ModelStore, look: Look, connection: RedisConnection) -> None:
    model.artifacts.put("0" * 12, b"x" * 2048)
    folder = model.artifacts.root / ("0" * 12)
    assert worse(await look()) == []
    os.utime(folder, (0, 0))
    found = only(await look(), "orphans", "warning")
    assert f"{folder} (2.0 KiB)" in found.message and f"rm -r {folder}" in str(found.advice)
    await connection.redis.delete(connection.keys.names)
    assert "the store knows no model" in only(await look(), "orphans", "warning").message
