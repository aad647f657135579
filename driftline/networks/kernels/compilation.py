"""How far a process has come that waits for kernels, as at each first start."""

from __future__ import annotations

from driftline.networks.kernels import compiled


def compilation() -> str | None:
    """How many kernels are ready, while :func:`~driftline.networks.kernels.compiled.warm` waits for others to be compiled, here
    or in another process; else None."""
    if not compiled._loading.locked():
        return None
    kernels = compiled._kernels
    ready = sum(bool(dispatcher.signatures) or compiled._is_cached(dispatcher, types) for dispatcher, types in kernels)
    if ready == len(kernels):
        return None
    return f"kernels are compiled, as at each first start: {ready} of {len(kernels)} are ready"
