"""Which code of a user's own a model runs, by the content of its files."""

from __future__ import annotations

import hashlib
import sys
from functools import cache
from pathlib import Path

from driftline.errors import UserCodeFailed
from driftline.networks.user_code import imported, user_code
from driftline.spec import ModelSpec
from driftline.spec.network import Factory


def own_code(spec: ModelSpec) -> dict[str, str]:
    """The sha256 of the file of each function that a spec names, by the function; what has no file to read is left out.

    A file counts as it was when it was first asked for in this process, and without what it imports.
    """
    factory = spec.network.factory if isinstance(spec.network, Factory) else None
    named = [name for name in (factory, spec.loss_function) if name is not None]
    return {name: digest for name in named if (digest := _digest(name.partition(":")[0])) is not None}


def digest_of(function: str) -> str | None:
    """The sha256 of the file of a function, which is imported; None where it does not import, or has no file to read."""
    try:
        with user_code(function):
            imported(function)
    except UserCodeFailed:
        return None
    return _digest(function.partition(":")[0])


@cache
def _digest(module: str) -> str | None:
    try:
        return hashlib.sha256(Path(str(sys.modules[module].__file__)).read_bytes()).hexdigest()
    except (KeyError, OSError):
        return None
