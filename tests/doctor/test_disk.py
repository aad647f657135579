"""Rights, room and keys."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from driftline.doctor import disk
from driftline.keys import KeyStore

GIB = 2**30


@pytest.mark.parametrize(
    ("free", "total", "level"),
    [
        (50 * GIB, 100 * GIB, "ok"),
        (9 * GIB, 100 * GIB, "warning"),
        (GIB // 2, 2 * GIB, "warning"),
        (99 * 2**20, 100 * GIB, "error"),
    ],
)
def test_room_is_measured(free: int, total: int, level: str) -> None:
    found = disk.check_space(free, total, Path("/data"))
    assert found.level == level
    assert bool(found.advice) == (level != "ok")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        found = disk.check_folder(tmp_path)
    finally:
        tmp_path.chmod(0o700)
    assert found.level == "error" and str(tmp_path) in found.message and "chmod" in str(found.advice)


def test_a_file_is_no_data_directory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    found = disk.check_folder(tmp_path / "file")
    assert found.level == "error" and "is not a folder" in found.message


def test_keys_are_for_their_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    assert disk.check_keys(path).level == "ok"
    KeyStore(path).create(["admin"])
    assert disk.check_keys(path).level == "ok"
    path.chmod(0o644)
    found = disk.check_keys(path)
    assert (found.level, found.advice) == ("warning", f"chmod 600 {path}")


def test_a_torn_file_of_keys_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_text('{"keys": [')
    found = disk.check_keys(path)
    assert found.level == "error" and str(path) in found.message and "keys create" in str(found.advice)
