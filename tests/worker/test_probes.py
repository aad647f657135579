"""What a worker tells whoever starts and ends it: whether it lives, and whether it learns."""

from __future__ import annotations

import asyncio
import socket

import httpx
import pytest

from driftline.errors import ConfigurationError
from driftline.processes import plan
from driftline.settings import Settings
from driftline.store.workers import Workers
from tests.ports import free_port
from tests.waiting import SECONDS, until_async
from tests.worker.conftest import Bench
from tests.worker.running import working
from worker import main
from worker.main import Worker

pytestmark = pytest.mark.anyio


async def asked(worker: Worker, path: str) -> httpx.Response:
    async with httpx.AsyncClient(timeout=SECONDS) as client:
        return await client.get(f"http://127.0.0.1:{worker.probes.port}{path}")


async def is_ready(worker: Worker) -> bool:
    return (await asked(worker, "/readyz")).status_code == 200


async def test_it_is_alive_at_once_and_ready_when_it_learns_and_no_more_when_it_ends(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled, begun = asyncio.Event(), asyncio.get_running_loop()

    def warm() -> None:
        asyncio.run_coroutine_threadsafe(compiled.wait(), begun).result()

    monkeypatch.setattr(main, "warm", warm)
    async with working(bench, worker_port=0) as worker:
        await until_async(lambda: bool(worker.probes.port))
        assert (await asked(worker, "/livez")).json() == {"status": "alive"}
        unready = await asked(worker, "/readyz")
        assert unready.status_code == 503 and unready.json()["error"]["code"] == "not_ready"
        compiled.set()
        await until_async(lambda: is_ready(worker))
        assert [each.id for each in await Workers(bench.connection).read()] == [worker.owner]
        worker.troubles.failed("polling the logs", "no luck")
        assert "polling the logs: no luck" in (await asked(worker, "/readyz")).text
        worker.troubles.over("polling the logs")
        assert await is_ready(worker)
        worker.stop()
        assert worker._why_unready() == "the worker ends"


async def test_what_is_no_probe_is_told_so_and_harms_nothing(bench: Bench) -> None:
    async with working(bench, worker_port=0) as worker:
        await until_async(lambda: bool(worker.probes.port))
        assert (await asked(worker, "/metrics")).status_code == 404
        for sent in (b"", b"\r\n\r\n", b"GET\r\n\r\n", b"\xff" * 20_000, b"GET /livez HTT"):
            reader, writer = await asyncio.open_connection("127.0.0.1", worker.probes.port)
            writer.write(sent)
            writer.write_eof()
            answer = await reader.read()
            assert answer == b"" or answer.startswith(b"HTTP/1.1 404 "), sent
            writer.close()
        await until_async(lambda: is_ready(worker))


async def test_a_port_that_is_taken_ends_the_worker_and_says_why(bench: Bench) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"port {port}: .* another DRIFTLINE_WORKER_PORT"):
            await Worker(Settings(redis_url=bench.url, data_dir=bench.folder, worker_port=port)).run()


async def test_workers_of_one_machine_have_ports_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    port, found = free_port(), []

    class Guard:
        def spawn(self, argv: list[str], *, env: dict[str, str], **_: object) -> None:
            found.append(env["DRIFTLINE_WORKER_PORT"])

    settings = Settings(redis_url="redis://127.0.0.1:1/0", workers=3, worker_port=port)
    with plan.learning_plan(settings)(Guard()) as children:  # type: ignore[arg-type]
        for child in children:
            child.start()
    assert found == [str(port), str(port + 1), str(port + 2)]
