"""Whether this process can compute on a device."""

from __future__ import annotations

import torch


def missing_device(name: str) -> str | None:
    """Why this process cannot compute on a device, in a sentence; None where it can."""
    kind, colon, index = name.partition(":")
    if kind not in ("cpu", "cuda", "mps") or (colon and not (kind == "cuda" and index.isdigit())):
        return f"{name!r} is no device: cpu, cuda, cuda:1 or mps"
    if kind == "cpu":
        return None
    if kind == "mps":
        return None if torch.backends.mps.is_available() else f"{name!r} is not there: this torch has no Metal here"
    if not torch.backends.cuda.is_built():  # type: ignore[no-untyped-call]
        return f"{name!r} is not there: torch {torch.__version__} is built without CUDA"
    count = torch.cuda.device_count()
    if not count:
        return f"{name!r} is not there: CUDA finds no device"
    if index and int(index) >= count:
        return f"{name!r} is not there: the last of {count} is cuda:{count - 1}"
    return None
