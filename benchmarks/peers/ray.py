"""Ray Serve with one replica, no access log and no dashboard, its workers at the priority of everybody else's.

As it comes, requests go through its Python proxy. The two variables of its guide to high throughput put HAProxy there.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import ray
from ray import serve
from starlette.requests import Request

from benchmarks.peers.network import Network


@serve.deployment(num_replicas=1, max_ongoing_requests=1000)
class Digits:
    def __init__(self) -> None:
        self.network = Network()

    async def __call__(self, request: Request) -> dict[str, Any]:
        inputs = np.asarray((await request.json())["inputs"], np.float32)
        return {"output": self.network.probabilities(inputs).tolist()}


def main(port: int) -> None:
    ray.init(include_dashboard=False, log_to_driver=False, _temp_dir=str(Path.cwd()))
    quiet = {"enable_access_log": False, "log_level": "WARNING"}
    serve.start(http_options={"host": "127.0.0.1", "port": port}, logging_config=quiet)
    serve.run(Digits.options(logging_config=quiet).bind())
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    try:
        signal.pause()
    finally:
        ray.shutdown()


if __name__ == "__main__":
    main(int(sys.argv[1]))
