"""How well and how fast Driftline learns, beside others: tables in markdown.

python -m benchmarks.learning [tabular regression images throughput speed recovery returning ablation] [--rows 2000] [--seeds 1]
                              [--only NAME …] [--elec2 FILE] [--fashion DIR] [--environments DIR] [--results DIR]

Without a name every table is measured, over at most --rows rows of each stream; 0: all, which takes hours. Results are
cached in DIR, so that an interrupted table can be continued; those of Driftline are measured again when its code has changed.
The peers' environments are made once; TORCH_INDEX=URL takes torch from there.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.common.environments import Unavailable
from benchmarks.common.fashion import USUAL_FOLDER
from benchmarks.learn.options import Options

TABLES = ("tabular", "regression", "images", "throughput", "speed", "recovery", "returning", "ablation")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="*", metavar="TABLE", default=list(TABLES), help=", ".join(TABLES))
    parser.add_argument("--rows", type=int, default=2000, help="most rows of a stream; 0: all")
    parser.add_argument("--seeds", type=int, default=1, help="figures are means over so many")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="measure these contenders only")
    parser.add_argument(
        "--elec2", type=Path, metavar="FILE", help="Elec2 as CSV, the label last; else it is downloaded"
    )
    parser.add_argument("--fashion", type=Path, metavar="DIR", default=USUAL_FOLDER, help="Fashion-MNIST's four files")
    parser.add_argument("--environments", type=Path, metavar="DIR", default="~/.cache/driftline-benchmarks")
    parser.add_argument("--results", type=Path, metavar="DIR", default="~/.cache/driftline-benchmarks/results")
    given = parser.parse_args()
    unknown = set(given.tables) - set(TABLES)
    if unknown:
        parser.error(f"there is no table {', '.join(sorted(unknown))}; there are {', '.join(TABLES)}")
    options = Options(
        rows=given.rows or None,
        seeds=given.seeds,
        environments=given.environments.expanduser(),
        results=given.results.expanduser(),
        elec2=given.elec2,
        fashion=given.fashion,
        only=frozenset(given.only),
    )
    for name in given.tables:
        show(name, options)


def show(name: str, options: Options) -> None:
    """Prints one table, with its description and the command that prints it."""
    module = importlib.import_module(f"benchmarks.learn.{name}")
    rows = f"--rows {options.rows or 0} --seeds {options.seeds}"
    print(f"## {name.capitalize()}\n\n{inspect.getdoc(module)}\n\n`python -m benchmarks.learning {name} {rows}`\n")
    try:
        print("\n\n".join(module.tables(options)) + "\n", flush=True)
    except Unavailable as reason:
        print(f"not measured: {reason}\n", flush=True)


if __name__ == "__main__":
    main()
