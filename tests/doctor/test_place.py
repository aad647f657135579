"""The doctor finds the store of a running ``up``, and looks at one that rests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from driftline.doctor import examine, place
from driftline.processes.embedded import EmbeddedServer, running_url
from driftline.processes.supervisor import Guard
from driftline.settings import Settings
from tests.doctor.conftest import only, worse


@pytest.fixture
def server(guard: Guard, data_dir: Path) -> Iterator[EmbeddedServer]:
    server = EmbeddedServer(data_dir, guard)
    server.start()
    yield server
    server.stop()


def test_a_running_server_is_found(server: EmbeddedServer, data_dir: Path) -> None:
    assert running_url(data_dir) == server.url
    with place.find(Settings(data_dir=data_dir)) as found:
        assert (found.url, found.is_running) == (server.url, True)
    assert Redis.from_url(server.url).ping()


def test_a_server_that_rests_is_started_for_the_check(server: EmbeddedServer, data_dir: Path) -> None:
    Redis.from_url(server.url).set("label", "1")
    server.stop()
    assert running_url(data_dir) is None
    assert not (data_dir / "valkey" / "url").exists()
    with place.find(Settings(data_dir=data_dir)) as found:
        assert found.url is not None and not found.is_running
        assert Redis.from_url(found.url).get("label") == b"1"
        url = found.url
    assert running_url(data_dir) is None
    assert not Path(url.removeprefix("unix://")).exists()
    assert worse(examine(Settings(data_dir=data_dir))) == []


@pytest.mark.parametrize("text", ["unix:///tmp/no-server-is-here", "", "\0"])
def test_an_address_that_a_killed_server_left_does_no_harm(server: EmbeddedServer, data_dir: Path, text: str) -> None:
    server.stop()
    (data_dir / "valkey" / "url").write_text(text)
    assert running_url(data_dir) is None
    assert worse(examine(Settings(data_dir=data_dir))) == []


def test_data_in_use_is_told(server: EmbeddedServer, data_dir: Path) -> None:
    (data_dir / "valkey" / "url").unlink()
    with place.find(Settings(data_dir=data_dir), lock_seconds=0.1) as installation:
        found = only(installation.findings, "store", "error")
    assert "in use" in found.message and "ask again" in str(found.advice)


def test_a_folder_without_anything_stays_without_anything(tmp_path: Path) -> None:
    found = worse(examine(Settings(data_dir=tmp_path / "data")))
    assert [(finding.check, finding.level) for finding in found] == [("disk", "warning"), ("store", "warning")]
    assert all("driftline up" in str(finding.advice) for finding in found)
    assert list(tmp_path.iterdir()) == []
