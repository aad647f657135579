"""Formatting of sizes, times and counts in messages."""

from __future__ import annotations

import time


def size_text(size_bytes: float) -> str:
    """A size in bytes, with a unit.

    >>> size_text(3 * 2**30)
    '3.0 GiB'
    """
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size_bytes < 1024:
            return f"{size_bytes:.0f} {unit}" if unit == "bytes" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1024
    return f"{size_bytes:.1f} TiB"


def time_text(seconds: float) -> str:
    """A duration in seconds, with a unit.

    >>> time_text(7200)
    '2.0 hours'
    """
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length or (unit == "hours" and seconds >= length):
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} seconds"


def moment_text(seconds: float) -> str:
    """A time in seconds since 1970, in UTC.

    >>> moment_text(0)
    '1970-01-01T00:00:00Z'
    """
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def count_text(count: int, noun: str) -> str:
    """A number with its noun.

    >>> count_text(1, "file"), count_text(2, "file")
    ('1 file', '2 files')
    """
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
