"""Networks that are compiled where they are served."""

from __future__ import annotations

import logging
import os
import shutil
from typing import Any

import torch

from driftline.errors import InvalidInput
from driftline.networks.served_model import ServedModel
from driftline.spec import ModelSpec

logger = logging.getLogger("driftline.networks")

BACKEND = "inductor"
COMPILERS = ("c++", "g++", "clang++")
MOST = 10_000
"""How often torch may compile the same code, as that of a layer, which many models have; by default it gives up after eight."""


def missing_compiler() -> str | None:
    """Why this machine cannot compile a network, in a sentence; None where it can."""
    named = os.environ.get("CXX")
    if any(shutil.which(name) for name in ([named] if named else COMPILERS)):
        return None
    return f"there is no C++ compiler here ({named or ', '.join(COMPILERS)}), which torch.compile needs"


def check_compiler() -> None:
    """:class:`InvalidInput` ``compiler_missing`` where this machine cannot compile a network."""
    if (reason := missing_compiler()) is not None:
        raise InvalidInput(f"compile: {reason}", code="compiler_missing", field="compile", value=True)


def compile_network(module: ServedModel, spec: ModelSpec) -> None:
    """Lets a module answer by a compiled network, for any number of rows; as it is, where there is no compiler.

    It is compiled as it first computes. Other weights in the place of these need no compiling.
    """
    if (reason := missing_compiler()) is not None:
        logger.warning("the network of %s is not compiled: %s", spec.name, reason)
        return
    from torch._dynamo import config  # It loads the compiler: hundreds of modules that nothing else needs.

    config.recompile_limit = config.accumulated_recompile_limit = MOST
    # What cannot be compiled is computed as it is.
    config.suppress_errors = True
    network = module.network

    def computed(*rows: Any, **named_rows: Any) -> Any:
        return network._call_impl(*rows, **named_rows)  # type: ignore[no-untyped-call]

    # As `network.compile()` does; but that passes over modules of torch's own, as a sequence of layers is one.
    network._compiled_call_impl = torch.compile(computed, backend=BACKEND, dynamic=True)
