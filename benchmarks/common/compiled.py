"""What a compiled network answers in, beside the same one as it is."""

from __future__ import annotations

import time

import numpy as np
import torch

from benchmarks.common.encoder import FACTORY, TOKENS, spec
from driftline.networks.build import build
from driftline.networks.compilation import compile_network
from driftline.spec import ModelSpec, parse

ROUNDS = 15


def measure(size: str) -> dict[str, float]:
    """Processor milliseconds of a batch, in alternating pairs; what compiling took, and how far apart the answers are."""
    described = parse(ModelSpec, spec(size, None))
    plain, other = (build(described, [0, 1, 2, 3], factories=[FACTORY], seed=1) for _ in range(2))
    compile_network(other, described)
    rows = {count: {"inputs": torch.randint(0, 1000, (count, TOKENS))} for count in (1, 8, 32)}
    found: dict[str, float] = {}
    with torch.inference_mode():
        begin = time.process_time()
        apart = max(float((other(each) - plain(each)).abs().max()) for each in rows.values())
        found["compiling s"] = time.process_time() - begin
        for count, each in rows.items():
            times = np.array([[_seconds(module, each) for module in (plain, other)] for _ in range(ROUNDS)])
            first, second = np.median(times, 0)
            found |= {f"{count} rows, plain ms": 1e3 * first, f"{count} rows, compiled": second / first}
    return found | {"largest difference": apart}


def _seconds(module: torch.nn.Module, rows: dict[str, torch.Tensor]) -> float:
    begin = time.process_time()
    module(rows)
    return time.process_time() - begin
