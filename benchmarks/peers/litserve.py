"""LitServe with one API process and one worker, and its fast queue between them; batches make it slower here."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from litserve import LitAPI, LitServer
from numpy.typing import NDArray

from benchmarks.peers.network import Network

Rows = NDArray[np.float32]


class Digits(LitAPI):
    def setup(self, device: str) -> None:
        self.network = Network()

    # An annotated request would be validated by pydantic first.
    def decode_request(self, request) -> Rows:  # type: ignore[no-untyped-def]
        return np.asarray(request["inputs"], np.float32)

    def predict(self, inputs: Rows) -> Rows:
        return self.network.probabilities(inputs)

    def encode_response(self, output: Rows) -> dict[str, Any]:
        return {"output": output.tolist()}


if __name__ == "__main__":
    server = LitServer(Digits(), accelerator="cpu", workers_per_device=1, fast_queue=True)
    server.run("127.0.0.1", int(sys.argv[1]), num_api_servers=1, log_level="warning", generate_client_file=False)
