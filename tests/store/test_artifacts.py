"""Blobs are whole or not there, and nothing that is referred to goes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from driftline.errors import CorruptData, Unavailable
from driftline.store.artifacts import Artifacts


@pytest.fixture
def artifacts(tmp_path: Path) -> Artifacts:
    return Artifacts(tmp_path / "artifacts")


def test_what_was_put_comes_back(artifacts: Artifacts) -> None:
    digest = artifacts.put("m", b"weights")
    assert artifacts.put("m", b"weights") == digest
    assert artifacts.get("m", digest) == b"weights"
    assert os.listdir(artifacts.root / "m") == [digest], "nothing is left aside"


@pytest.mark.parametrize("written", [b"weightz", b"weigh", b"", b"another file"])
def test_a_damaged_cut_off_or_missing_blob_is_named(artifacts: Artifacts, written: bytes) -> None:
    digest = artifacts.put("m", b"weights")
    (artifacts.root / "m" / digest).write_bytes(written)
    with pytest.raises(CorruptData, match="damaged"):
        artifacts.get("m", digest)
    with pytest.raises(CorruptData, match="missing"):
        artifacts.get("m", "0" * 64)


def test_a_damaged_blob_is_whole_again_when_it_is_written_again(artifacts: Artifacts) -> None:
    digest = artifacts.put("m", b"weights")
    (artifacts.root / "m" / digest).write_bytes(b"weight")
    assert artifacts.put("m", b"weights") == digest
    assert artifacts.get("m", digest) == b"weights"


def test_only_what_nobody_refers_to_goes_and_orphans_have_their_grace(artifacts: Artifacts) -> None:
    live, retired, orphan, fresh = (artifacts.put("m", data) for data in (b"live", b"retired", b"orphan", b"fresh"))
    os.utime(artifacts.root / "m" / orphan, (0, 0))
    os.utime(artifacts.root / "m" / live, (0, 0))
    assert artifacts.collect("m", {live}, orphan_seconds=60, retired={retired}) == 2
    assert sorted(os.listdir(artifacts.root / "m")) == sorted([live, fresh])


def test_a_disk_that_refuses_is_an_error_to_try_again(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Unavailable):
        Artifacts(tmp_path / "file").put("m", b"weights")
