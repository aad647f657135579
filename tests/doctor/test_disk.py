"""Rights, room and keys."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from driftline.api_keys import KeyStore
from driftline.doctor import disk

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


NOBODY = 65534


def become_nobody() -> None:
    """Root may write everywhere: who is root looks as somebody else."""
    if os.geteuid() == 0:
        os.setuid(NOBODY)


def test_a_folder_that_cannot_be_written_is_named() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o500)
        context = multiprocessing.get_context("fork")
        with ProcessPoolExecutor(1, context, become_nobody) as pool:
            found = pool.submit(disk.check_folder, folder).result()
        folder.chmod(0o700)
    assert found.level == "error" and str(folder) in found.message and "chmod" in str(found.advice)


def test_a_file_is_no_data_directory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    found = disk.check_folder(tmp_path / "file")
    assert found.level == "error" and "is not a folder" in found.message


def test_keys_are_for_their_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    assert disk.check_keys(KeyStore(path)).level == "ok"
    KeyStore(path).create(["admin"])
    assert disk.check_keys(KeyStore(path)).level == "ok"
    path.chmod(0o644)
    found = disk.check_keys(KeyStore(path))
    assert (found.level, found.advice) == ("warning", f"chmod 600 {path}")


def test_a_torn_file_of_keys_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_text('{"keys": [')
    found = disk.check_keys(KeyStore(path))
    assert found.level == "error" and str(path) in found.message and "keys create" in str(found.advice)
