"""``python -m tests.golden write`` or ``check``, each with a pattern that is part of the names of scenarios, or none."""

from __future__ import annotations

import json
import sys

from tests.golden import runs, scenarios


def main(arguments: list[str]) -> int:
    command, pattern = [*arguments, *("check", "")[len(arguments) :]][:2]
    names = [name for name in scenarios.every() if pattern in name]
    match command:
        case "run":
            for line in sys.stdin:
                print(json.dumps(runs.run_here(json.loads(line))), flush=True)
            return 0
        case "arithmetic":
            print(runs.arithmetic_here())
            return 0
        case "write":
            kept = runs.read()["scenarios"] if pattern else {}
            found = kept | runs.run(names)
            runs.write({name: found[name] for name in scenarios.every() if name in found})
            print(f"{len(names)} scenarios written to {runs.GOLDEN}")
            return 0
        case "check":
            return check(names)
    print(__doc__, file=sys.stderr)
    return 2


def check(names: list[str]) -> int:
    """Prints how scenarios differ from what is recorded; 1 where any does."""
    recorded, here, is_same_build = runs.read(), runs.this_build(), runs.is_same_build()
    if not is_same_build:
        print(f"recorded by {recorded['build']}, this is {here}: only the measures are compared")
    found, differing = runs.run(names), 0
    for name in names:
        lines = runs.differences(recorded["scenarios"].get(name, {"scenario": "recorded"}), found[name], is_same_build)
        differing += bool(lines)
        for line in lines:
            print(f"{name}: {line}")
    print(f"{len(names)} scenarios, {differing} differ")
    return int(differing > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
