"""A server and workers that do not keep their artifacts in one place: ``/readyz`` says so before any label waits for it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from app.artifact_check import ArtifactCheck
from driftline.errors import Unavailable
from driftline.store.artifacts import Artifacts
from driftline.store.connection import RedisConnection
from driftline.store.encryption import Encryption, EncryptionKey
from driftline.store.workers import Heartbeat
from tests.app.conftest import AppClient, instance_alarms
from tests.waiting import until_async
from tests.worker.conftest import Bench
from tests.worker.running import working

pytestmark = pytest.mark.anyio

BEAT = Heartbeat("w/1", "host", 12, "1.0", started=900.0, time=999.5, note="a")


@pytest.fixture
def bench(connection: RedisConnection, embedded: str, thread: ThreadPoolExecutor, tmp_path: Path) -> Bench:
    return Bench(connection, embedded, thread, tmp_path)


@pytest.fixture
async def ready(client: AppClient) -> AppClient:
    """The client of a server that is ready."""

    async def is_ready() -> bool:
        return (await client.get("/readyz")).status_code == 200

    await until_async(is_ready)
    return client


async def test_a_note_that_is_there_is_no_trouble_and_any_other_is_artifacts_apart(tmp_path: Path) -> None:
    artifacts = Artifacts(tmp_path / "artifacts")
    check = ArtifactCheck(artifacts)
    (alarm,) = await check.look([BEAT])
    assert alarm["kind"] == "artifacts_apart" and alarm["worker"] == "w/1"
    assert "process 12 on host" in alarm["message"] and str(tmp_path) in alarm["message"]
    artifacts.leave_note("w/1", "a")
    assert await check.look([BEAT]) == []
    restarted = msgspec.structs.replace(BEAT, note="b")
    (alarm,) = await check.look([restarted])
    assert alarm["kind"] == "artifacts_apart", "the note of a copied folder, or of an earlier start"
    former_release = msgspec.structs.replace(BEAT, note="")
    assert await check.look([former_release]) == []


async def test_a_worker_and_a_server_that_cannot_read_each_other_s_files_are_told_of(tmp_path: Path) -> None:
    old, new = EncryptionKey("2026", b"o" * 32), EncryptionKey("2027", b"n" * 32)

    async def kinds(ours: list[EncryptionKey], theirs: list[EncryptionKey]) -> list[str]:
        beat = msgspec.structs.replace(BEAT, note="", encryption_keys=Encryption(theirs).names)
        found = await ArtifactCheck(Artifacts(tmp_path / "artifacts", Encryption(ours))).look([beat])
        lacking = [keys[0] for keys, others in ((ours, theirs), (theirs, ours)) if keys and keys[0] not in others]
        assert all(f"`{key.name}`" in alarm["message"] for key in lacking for alarm in found)
        return [alarm["kind"] for alarm in found]

    for same in ([], [old], [old, new]):
        assert await kinds(same, same) == []
    assert await kinds([old, new], [new, old]) == [], "in the midst of a rotation"
    assert (
        await kinds([new, old], [old]) == await kinds([old], []) == await kinds([], [old]) == ["encryption_keys_apart"]
    )
    assert await kinds([old], [new]) == ["encryption_keys_apart"]


async def test_artifacts_that_cannot_be_read_or_written_are_named_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifacts = Artifacts(tmp_path / "artifacts")

    def refuse(owner: str) -> str:
        raise Unavailable("cannot read it: Input/output error")

    monkeypatch.setattr(artifacts, "note_of", refuse)
    full = msgspec.structs.replace(BEAT, note="", artifacts_failure="cannot write it: No space left on device")
    found = await ArtifactCheck(artifacts).look([BEAT, full])
    assert {alarm["kind"] for alarm in found} == {"artifacts_unavailable"}
    assert {alarm["message"].rpartition(": ")[2] for alarm in found} == {
        "Input/output error",
        "No space left on device",
    }


async def test_readyz_tells_of_a_worker_whose_artifacts_are_elsewhere_until_it_is_gone(
    ready: AppClient, bench: Bench, tmp_path: Path
) -> None:
    bench.folder = tmp_path / "elsewhere"

    async def kinds() -> set[str]:
        return {alarm["kind"] for alarm in await instance_alarms(ready)}

    async def is_apart() -> bool:
        return "artifacts_apart" in await kinds()

    async def is_well() -> bool:
        return not await kinds()

    async with working(bench):
        await until_async(is_apart)
        assert 'driftline_alarms{kind="artifacts_apart",model=""} 1.0' in (await ready.get("/metrics")).text
    await until_async(is_well)
    bench.folder = tmp_path
    async with working(bench) as worker:
        await until_async(lambda: worker.heart.note)
        await until_async(is_well)
        assert Artifacts(tmp_path / "artifacts").note_of(worker.owner) == worker.heart.note
    assert Artifacts(tmp_path / "artifacts").note_of(worker.owner) is None


async def test_a_worker_whose_artifacts_refuse_is_told_of_before_there_is_anything_to_learn(
    ready: AppClient, bench: Bench, tmp_path: Path
) -> None:
    (tmp_path / "artifacts").touch()

    async def messages() -> str:
        found = await instance_alarms(ready)
        return " ".join(alarm["message"] for alarm in found if alarm["kind"] == "artifacts_unavailable")

    async with working(bench):
        assert "cannot write" in await until_async(messages)
