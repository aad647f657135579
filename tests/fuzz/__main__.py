"""Fuzzes what takes bytes of others.

python -m tests.fuzz [TARGET …] --seconds 600

Each target gets bytes for so long, in a process of its own: led by what they reach in the code where ``atheris`` is installed
(Google's fuzzer of Python, on libFuzzer), else made by chance from what the target is known to take. What ends a target, takes
a minute or 4 GiB is written to ``.fuzz/TARGET``, with what was found to reach further, from which the next run goes on.
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import subprocess
import sys
import time
from pathlib import Path

FOLDER = Path(".fuzz")
NAMES = ("connection", "labels", "rows", "tensors", "spec", "retrain", "weights", "artifact", "backup", "encrypted")
MAX_BYTES, SLOW_SECONDS, MAX_MIB = 4096, 60, 4096


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="TARGET", help=", ".join(NAMES))
    parser.add_argument("--seconds", type=float, default=600, help="for each target")
    parser.add_argument("--seed", type=int, default=0, help="0: another one each time")
    given = parser.parse_args()
    if unknown := set(given.names) - {*NAMES}:
        parser.error(f"there is no target {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    failed = [name for name in given.names or NAMES if not _survives(name, given.seconds, given.seed)]
    if failed:
        sys.exit(f"a fault was found in {', '.join(failed)}: see {FOLDER}")


def _survives(name: str, seconds: float, seed: int) -> bool:
    has_atheris = importlib.util.find_spec("atheris") is not None
    module = "tests.fuzz.by_coverage" if has_atheris else "tests.fuzz.by_chance"
    begin = time.monotonic()
    (FOLDER / name).mkdir(parents=True, exist_ok=True)
    with (FOLDER / name / "log").open("w") as log:
        done = subprocess.run([sys.executable, "-m", module, name, str(seconds), str(seed)], stderr=log, stdout=log)
    counts = re.findall(
        r"^(?:runs|stat::number_of_executed_units): (\d+)$", (FOLDER / name / "log").read_text(), re.MULTILINE
    )
    ending = "no fault" if done.returncode == 0 else f"ended by {done.returncode}"
    print(f"{name:12} {ending} after {time.monotonic() - begin:.0f} s, {int([0, *counts][-1]):,} runs", flush=True)
    return done.returncode == 0


if __name__ == "__main__":
    main()
