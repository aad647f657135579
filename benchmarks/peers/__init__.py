"""Other model servers. Each is a program here that serves the same network from an environment of its own, with one process
for the network, set up as its documentation advises for speed: ``PYTHON -P -m benchmarks.peers.NAME PORT``.

``requirements-NAME.txt`` is the ``pip freeze`` of the environment. Nothing here may import more than numpy and torch, but
for the programs themselves.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.common.environments import interpreter
from benchmarks.common.formats import Format, inference_binary, inference_json, json_rows, unread

ROOT = Path(__file__).resolve().parent.parent.parent
RAY = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}
RAY_TUNED = {"RAY_SERVE_ENABLE_HA_PROXY": "1", "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1"}


@dataclass(frozen=True)
class Peer:
    """A server to compare with.

    Args:
        title: its name as it is printed.
        program: its module here, and its package on PyPI; one without requirements runs in the benchmark's own environment.
        formats: how it takes "JSON", and "binary" if it says that it has a format for that.
        variables: what its environment has besides.
    """

    title: str
    program: str
    formats: Mapping[str, Format]
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def requirements(self) -> Path | None:
        path = Path(__file__).with_name(f"requirements-{self.program}.txt")
        return path if path.exists() else None

    @property
    def label(self) -> str:
        """Its name and version."""
        if self.requirements is None:
            return self.title
        pins = (line.partition("==") for line in self.requirements.read_text().splitlines())
        version = next(version for name, _, version in pins if name.partition("[")[0] == self.program)
        return f"{self.title} {version}"

    def command(self, port: int, environments: Path) -> list[str]:
        """What starts it, with an environment below ``environments`` that is made if need be."""
        requirements = self.requirements
        python = interpreter(self.program, requirements, environments) if requirements else Path(sys.executable)
        return [str(python), "-P", "-m", f"benchmarks.peers.{self.program}", str(port)]

    def environment(self, folder: Path) -> dict[str, str]:
        """Its environment variables; its home directory is ``folder``."""
        return {**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(folder), **self.variables}


INFERENCE = "/v2/models/digits/infer"

PEERS = {
    "mlserver": Peer(
        "MLServer", "mlserver", {"JSON": inference_json(INFERENCE), "binary": inference_binary(INFERENCE)}
    ),
    "litserve": Peer("LitServe", "litserve", {"JSON": json_rows("/predict", "output")}),
    "bentoml": Peer("BentoML", "bentoml", {"JSON": json_rows("/predict", "output")}, {"BENTOML_DO_NOT_TRACK": "True"}),
    "ray": Peer("Ray Serve", "ray", {"JSON": json_rows("/", "output")}, RAY),
    "ray-tuned": Peer("Ray Serve, tuned", "ray", {"JSON": json_rows("/", "output")}, RAY | RAY_TUNED),
    "uvicorn": Peer(
        "bare uvicorn", "bare", {"JSON": unread(json_rows("/", "")), "binary": unread(inference_binary("/"))}
    ),
}
