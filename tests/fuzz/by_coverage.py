"""Fuzzes one target, led by what its bytes reach in the code.

python -m tests.fuzz.by_coverage TARGET SECONDS SEED
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

from tests.fuzz.__main__ import FOLDER, MAX_BYTES, MAX_MIB, SLOW_SECONDS


def main(name: str, seconds: str, seed: str) -> None:
    # What numba compiles must be as it was written.
    kernels = [f"driftline.networks.kernels.{path.stem}" for path in Path("driftline/networks/kernels").glob("*.py")]
    with atheris.instrument_imports(include=["driftline", "app"], exclude=kernels):
        from tests.fuzz.targets import TARGETS
    target, folder = TARGETS[name], FOLDER / name
    corpus, known = folder / "corpus", folder / "known"
    for each in (corpus, known):
        each.mkdir(parents=True, exist_ok=True)
    for number, seed_bytes in enumerate(target.seeds):
        (known / str(number)).write_bytes(seed_bytes)
        target(seed_bytes)  # What is imported, compiled or cached at first is no slow input.
    options = {
        "max_total_time": int(float(seconds)),
        "max_len": MAX_BYTES,
        "timeout": SLOW_SECONDS,
        "rss_limit_mb": MAX_MIB,
        "seed": int(seed),
        "artifact_prefix": f"{folder}/",
        "print_final_stats": 1,
    }
    given = [sys.argv[0], *(f"-{name}={value}" for name, value in options.items()), str(corpus), str(known)]
    atheris.Setup(given, target, internal_libfuzzer=True)
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
