"""What encryption costs: a version of a large model is written and loaded, plain and encrypted in turns.

python -m benchmarks.encryption [--megabytes 134 403] [--rounds 5]

Each round has new weights, so that nothing is there already. ``cpu`` is what the processors worked, which other work on the
machine disturbs less than seconds; ``silence`` is the longest time that another thread of the process, which wakes each
millisecond, did not run; ``ratio`` is the median, over the rounds, of encrypted beside plain in the same round.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import tempfile
from collections import defaultdict
from pathlib import Path

import torch

from benchmarks.common.results import table
from benchmarks.common.silence import watched
from driftline.networks.build import build
from driftline.networks.model import Model
from driftline.spec import ModelSpec, parse
from driftline.store.artifacts import Artifacts
from driftline.store.encryption import Encryption, EncryptionKey
from driftline.support.memory import give_back
from driftline.versions import VersionFiles

UID = "0123456789ab"
WIDTH = 4096
MB_OF_LAYER = 4 * WIDTH**2 / 1e6
WAYS = {"plain": Encryption(), "encrypted": Encryption([EncryptionKey("bench", bytes(range(32)))])}


def network(megabytes: int) -> Model:
    layers = [{"type": "linear", "features": WIDTH} for _ in range(max(1, round(megabytes / MB_OF_LAYER)))]
    spec = parse(
        ModelSpec,
        {
            "name": "large",
            "task": "classification",
            "inputs": {"shape": [WIDTH]},
            "classes": [0, 1],
            "network": {"layers": layers},
            "recipe": {"strategy": "replay"},
        },
    )
    return Model(spec, [0, 1], build(spec, [0, 1], seed=0))


def rounds(megabytes: int, count: int) -> list[tuple[str, ...]]:
    """A line of figures for each thing that was done."""
    model = network(megabytes)
    found: dict[tuple[str, str], list[tuple[float, float, float]]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        for number in range(count):
            for parameter in model.module.parameters():
                torch.nn.init.normal_(parameter.data)
            ways = list(WAYS.items())[:: 1 if number % 2 else -1]
            written = {}
            for way, encryption in ways:
                files = VersionFiles(Artifacts(Path(folder) / f"{way}{number}", encryption), UID)
                with watched() as measured:
                    written[way] = files.write_first(model).manifest
                found[way, "write"].append((measured.seconds, measured.cpu, measured.silence))
            for way, encryption in ways:
                give_back()
                files = VersionFiles(Artifacts(Path(folder) / f"{way}{number}", encryption), UID)
                with watched() as measured:
                    _, state = files.read(written[way])
                found[way, "load"].append((measured.seconds, measured.cpu, measured.silence))
                assert sum(tensor.nbytes for tensor in state.tensors.values()) > megabytes * 5e5
                del state
                gc.collect()
    return [line(megabytes, what, way, found) for what in ("write", "load") for way in WAYS]


def line(
    megabytes: int, what: str, way: str, found: dict[tuple[str, str], list[tuple[float, float, float]]]
) -> tuple[str, ...]:
    seconds, cpu, silence = (statistics.median(each) for each in zip(*found[way, what], strict=True))
    pairs = zip(found[way, what], found["plain", what], strict=True)
    ratios = [[ours[place] / plain[place] for place in (0, 1)] for ours, plain in pairs]
    beside = [f"{statistics.median(each):.2f}" for each in zip(*ratios, strict=True)]
    return (f"{megabytes} MB", what, way, f"{seconds:.2f}", f"{cpu:.2f}", f"{1e3 * silence:.0f}", *beside)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, nargs="+", default=[134, 403])
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    heads = ("version", "", "", "s", "cpu s", "silence ms", "ratio s", "ratio cpu")
    lines = [each for megabytes in arguments.megabytes for each in rounds(megabytes, arguments.rounds)]
    print(table(heads, lines))


if __name__ == "__main__":
    main()
