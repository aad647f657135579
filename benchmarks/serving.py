"""Predictions a second and their latency, beside other model servers: the same MLP 784-128-10 with the same weights.

python -m benchmarks.serving [--rounds 3] [--seconds 5] [--connections 1 8 32 128] [--only NAME …] [--json FILE]
                             [--environments DIR] [--fields]

Every server computes in one process on one torch thread and is asked over keep-alive connections. A closed loop shows how
much it can do; an open one, at half of that, how long an answer takes from the time at which its request was due. A round
visits one server after the other while all others are stopped. Figures are medians over the rounds, failures their sum, and
a ratio is to Driftline as it comes. The peers' environments are made in DIR once; TORCH_INDEX=URL takes torch from there.

With ``--fields``, instead: rows of 20 fields beside rows of 20 numbers, as JSON over 32 connections, of one server: requests a
second, the processor time of the app for one, and how much of it goes from JSON to tensors.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import signal
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.common import field_rows, results
from benchmarks.common.contenders import REFERENCE, Contender, Server, contenders, served
from benchmarks.common.environments import Unavailable
from benchmarks.common.load import Result, closed_loop, open_loop

FORMATS = ("JSON", "binary")
WARM_UP_SECONDS = 1.0
BATCH = 32
USUAL_CONNECTIONS = 32
OPEN_CONNECTIONS = 128
SATURATED = 0.9


@dataclass(frozen=True)
class Case:
    """What is sent, over how many connections; the open loop at half of the rate that the closed one has reached."""

    format: str
    rows: int
    connections: int
    is_open: bool = False

    @property
    def title(self) -> str:
        connections = _count(self.connections, "connection")
        how = f"open loop at half of the rate of {connections}" if self.is_open else connections
        return f"{self.format}, {_count(self.rows, 'row')} a request, {how}"


@dataclass
class Row:
    """One server in one case: its result of each round, or why there is none."""

    label: str
    results: list[Result] = field(default_factory=list)
    reason: str | None = None

    @property
    def rate(self) -> float:
        return statistics.median(result.rate for result in self.results)

    def quantile_ms(self, share: float) -> float:
        return 1e3 * statistics.median(result.quantile(share) for result in self.results)

    @property
    def failures(self) -> int:
        return sum(result.failures for result in self.results)


Tables = dict[Case, dict[str, Row]]
"""The rows of each case, by the short name of the server."""


def cases(connections: Sequence[int]) -> list[Case]:
    """All cases, each open loop after its closed one."""
    counts = sorted({*connections, USUAL_CONNECTIONS})
    return [
        case
        for format in FORMATS
        for case in (
            *(Case(format, 1, count) for count in counts),
            Case(format, 1, USUAL_CONNECTIONS, is_open=True),
            Case(format, BATCH, USUAL_CONNECTIONS),
        )
    ]


def measure(chosen: Mapping[str, Contender], plan: Sequence[Case], rounds: int, seconds: float) -> Tables:
    """Starts them all, then lets them take turns."""
    tables = {case: {name: Row(contender.label) for name, contender in chosen.items()} for case in plan}
    with tempfile.TemporaryDirectory(prefix="driftline-") as folder, contextlib.ExitStack() as stack:
        servers: dict[str, Server] = {}
        for name, contender in chosen.items():
            _say(f"starting {contender.label}")
            rows = {case: table[name] for case, table in tables.items()}
            try:
                servers[name] = stack.enter_context(served(contender, Path(folder, name)))
            except Unavailable as reason:
                _refuse(rows, dict.fromkeys(FORMATS, str(reason)))
            else:
                _refuse(rows, servers[name].refused)
        for number in range(rounds):
            for name, server in servers.items():
                _say(f"round {number + 1} of {rounds}: {chosen[name].label}")
                turn(server, {case: table[name] for case, table in tables.items()}, seconds)
    return tables


def turn(server: Server, rows: Mapping[Case, Row], seconds: float) -> None:
    """One round of one server, into its rows."""
    with server.turn():
        try:
            closed_loop(server.port, server.message("JSON", 1), USUAL_CONNECTIONS, WARM_UP_SECONDS)
            for case, row in rows.items():
                if row.reason is None:
                    row.results.append(load(server, case, rows, seconds))
        except OSError as error:
            _refuse(rows, dict.fromkeys(FORMATS, f"stopped answering: {error}"))


def load(server: Server, case: Case, rows: Mapping[Case, Row], seconds: float) -> Result:
    """Asks the server as the case says."""
    message = server.message(case.format, case.rows)
    if not case.is_open:
        return closed_loop(server.port, message, case.connections, seconds)
    capacity = rows[replace(case, is_open=False)].results[-1].rate
    return open_loop(server.port, message, OPEN_CONNECTIONS, seconds, max(1.0, capacity / 2))


def report(tables: Tables) -> None:
    """Prints a table for each case."""
    for case, table in tables.items():
        print(f"\n{case.title}")
        reference = table.get(REFERENCE)
        for row in table.values():
            print(f"  {row.label:28} {row.reason or _figures(row, reference)}")
    saturated = {
        f"{row.label} ({case.title})"
        for case, table in tables.items()
        for row in table.values()
        if any(result.busy > SATURATED for result in row.results)
    }
    for name in sorted(saturated):
        print(f"\nthe load itself was the limit, or close to it: {name}")


def as_json(tables: Tables) -> dict[str, Any]:
    """Every figure of every round."""
    return {
        "machine": {"platform": platform.platform(), "cores": os.cpu_count(), "python": platform.python_version()},
        "cases": [
            asdict(case) | {"servers": {name: _as_json(row) for name, row in table.items()}}
            for case, table in tables.items()
        ],
    }


def main() -> None:
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit("ended by a signal"))
    arguments = _parse()
    if arguments.fields:
        for strategy in ("replay", "experts"):
            print(
                results.table(field_rows.HEADER, [*field_rows.measured(strategy, arguments.rounds, arguments.seconds)])
                + "\n"
            )
        return
    everyone = contenders(arguments.environments.expanduser())
    chosen = {name: everyone[name] for name in everyone if name in (arguments.only or everyone)}
    tables = measure(chosen, cases(arguments.connections), arguments.rounds, arguments.seconds)
    report(tables)
    if arguments.json:
        arguments.json.write_text(json.dumps(as_json(tables), indent=1) + "\n")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5, help="length of one load")
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 8, 32, 128])
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=list(contenders(Path())), help="%(choices)s")
    parser.add_argument("--fields", action="store_true", help="rows of fields beside rows of numbers")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where every figure of every round goes")
    parser.add_argument("--environments", type=Path, metavar="DIR", default="~/.cache/driftline-benchmarks")
    return parser.parse_args()


def _refuse(rows: Mapping[Case, Row], reasons: Mapping[str, str]) -> None:
    """Notes, by format, why there are no results."""
    for case, row in rows.items():
        row.reason = row.reason or reasons.get(case.format)


def _figures(row: Row, reference: Row | None) -> str:
    ratio = f"{row.rate / reference.rate:5.2f}" if reference and reference.results and reference.rate else "    –"
    p50, p99 = row.quantile_ms(0.5), row.quantile_ms(0.99)
    rate = f"{row.rate:8,.0f} /s"
    return f"{rate}  ratio {ratio}  p50 {p50:8.2f} ms  p99 {p99:8.2f} ms  failures {row.failures}"


def _as_json(row: Row) -> dict[str, Any]:
    if row.reason:
        return {"label": row.label, "reason": row.reason}
    return {
        "label": row.label,
        "rates": [result.rate for result in row.results],
        "p50_ms": [1e3 * result.quantile(0.5) for result in row.results if result.latencies],
        "p99_ms": [1e3 * result.quantile(0.99) for result in row.results if result.latencies],
        "failures": [result.failures for result in row.results],
        "load_busy": [result.busy for result in row.results],
    }


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
