"""BentoML with one worker, an endpoint on its event loop, no access log, and uvloop and httptools, which it uses if they are
there; threads and batches make it slower here. It refuses its own binary format, pickles, from outside."""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any

import bentoml
import numpy as np
from bentoml.validators import DType

from benchmarks.peers.network import Network


@bentoml.service(workers=1, logging={"access": {"enabled": False}})
class Digits:
    def __init__(self) -> None:
        self.network = Network()

    @bentoml.api
    async def predict(self, inputs: Annotated[np.ndarray, DType("float32")]) -> dict[str, Any]:
        return {"output": self.network.probabilities(inputs).tolist()}


if __name__ == "__main__":
    serve = ["-P", "-m", "bentoml", "serve", "benchmarks.peers.bentoml:Digits", "--host", "127.0.0.1", "--port"]
    os.execv(sys.executable, [sys.executable, *serve, sys.argv[1]])
