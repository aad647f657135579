"""Cached results, so that a long table can be continued; and tables as markdown."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent


def cached(folder: Path, what: Sequence[Any], measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The result of ``measure``; from a file below ``folder`` if ``what`` has been measured before."""
    text = json.dumps(what, sort_keys=True, default=str)
    name = re.sub(r"[^A-Za-z0-9.]+", "-", "-".join(str(part) for part in what if isinstance(part, str | int)))
    file = folder / f"{name[:80]}-{hashlib.sha256(text.encode()).hexdigest()[:12]}.json"
    if not file.exists():
        print(f"measuring {', '.join(map(str, what))}", file=sys.stderr, flush=True)
        result = measure()
        folder.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"what": what, "result": result}, default=str) + "\n")
    found: dict[str, Any] = json.loads(file.read_text())["result"]
    return found


def our_state() -> str:
    """A digest of the library's code: what was measured with other code is measured again."""
    digest = hashlib.sha256()
    for file in sorted((ROOT / "driftline").rglob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def peer(python: Path, program: str, *arguments: str) -> dict[str, Any]:
    """The JSON that a peer's program prints last; :class:`RuntimeError` with its last output if it fails."""
    command = [str(python), "-P", "-m", f"benchmarks.peers.{program}", *arguments]
    process = subprocess.run(command, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    if process.returncode:
        raise RuntimeError((process.stderr.strip().splitlines() or ["it failed without a word"])[-1])
    found: dict[str, Any] = json.loads(process.stdout.strip().splitlines()[-1] if process.stdout.strip() else "{}")
    return found


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table in markdown: the first column left, all others right; a dash for a missing figure."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *[[_cell(value) for value in row] for row in rows]]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.4f}".replace("0.", ".", 1) if -1 < value < 1 else f"{value:,.1f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
