"""The data directory: permissions, free space, and the file of keys."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

from driftline.api_keys import KeyStore
from driftline.doctor.finding import Finding, error, ok, warning
from driftline.errors import ConfigurationError, CorruptData
from driftline.settings import Settings
from driftline.support.formatting import count_text, size_text

SHORT_SHARE, SHORT_BYTES, FULL_BYTES = 0.1, 2**30, 100 * 2**20


def check(settings: Settings) -> list[Finding]:
    """The data directory, the disk that it is on, and the keys."""
    folder = settings.data_dir.resolve()
    usage = shutil.disk_usage(_existing(folder))
    return [check_folder(folder), check_space(usage.free, usage.total, folder), check_keys(KeyStore.of(settings))]


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    return next(path for path in (folder, *folder.parents) if os.path.exists(path))


def check_folder(folder: Path) -> Finding:
    """Whether the data directory, and what it holds, can be written."""
    if not os.path.exists(folder):
        advice = "`driftline up` makes it; if yours is elsewhere, give --data-dir or set DRIFTLINE_DATA_DIR"
        return warning("disk", f"there is no data directory {folder} yet", advice)
    if not os.path.isdir(folder):
        return error("disk", f"{folder} is not a folder", "give another --data-dir, or set DRIFTLINE_DATA_DIR")
    parts = [folder, *(part for name in ("artifacts", "valkey") if os.path.exists(part := folder / name))]
    closed = [str(part) for part in parts if not os.access(part, os.R_OK | os.W_OK | os.X_OK)]
    if closed:
        advice = "give the user who runs Driftline the right to read and write there (chown, chmod), or mount it so"
        return error("disk", f"this user cannot write {', '.join(closed)}", advice)
    wide = [str(part) for part in parts if stat.S_IMODE(part.stat().st_mode) & 0o077]
    if str(folder) in wide and len(wide) > 1:
        return warning("disk", f"others than its owner may enter {', '.join(wide)}", f"chmod 700 {folder}")
    return ok("disk", f"{folder} can be written")


def check_space(free_bytes: int, total_bytes: int, folder: Path) -> Finding:
    """Whether there is space for versions, checkpoints and the log."""
    message = f"{size_text(free_bytes)} of {size_text(total_bytes)} are free where {folder} is"
    advice = (
        "make room, or lower DRIFTLINE_VERSION_BYTES or DRIFTLINE_KEEP_VERSIONS; "
        "on a full disk nothing more is learned or acknowledged"
    )
    if free_bytes < FULL_BYTES:
        return error("disk", message, advice)
    if free_bytes < SHORT_BYTES or free_bytes < SHORT_SHARE * total_bytes:
        return warning("disk", message, advice)
    return ok("disk", message)


def check_keys(store: KeyStore) -> Finding:
    """Whether the file of keys is whole, and unreadable for others."""
    path = store.path
    try:
        keys = store.list()
        mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else 0
    except (ConfigurationError, CorruptData) as trouble:
        advice = f"put {path} back from a backup, or remove it and make new keys: driftline keys create --scope admin"
        return error("keys", trouble.message, advice)
    except OSError as trouble:
        return error("keys", f"{path}: {trouble.strerror}", "give the user who runs Driftline the right to read it")
    if mode & 0o077:
        return warning("keys", f"others than its owner may use {path} (mode {mode:03o})", f"chmod 600 {path}")
    if not keys and store.is_required:
        advice = f"put {path} back from a backup, or make a key: driftline keys create --scope admin"
        return error("keys", f"every call needs an API key here, and {path} holds none", advice)
    if not keys:
        return ok("keys", "there are no API keys: the server answers this machine only")
    return ok("keys", f"{count_text(len(keys), 'API key')} in {path}, for its owner alone to read")
