"""MLServer in one process, without adaptive batching, which makes it slower here.

Its binary tensors go over gRPC only: a REST request with the binary extension is answered with an error.
"""

from __future__ import annotations

import asyncio
import sys

from mlserver import MLModel, MLServer, ModelSettings, Settings
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse
from mlserver.utils import install_uvloop_event_loop

from benchmarks.common.processes import free_port
from benchmarks.peers.network import Network


class Digits(MLModel):
    async def load(self) -> bool:
        self.network = Network()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        probabilities = self.network.probabilities(NumpyCodec.decode_input(payload.inputs[0]))
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("output", probabilities)])


async def serve(port: int) -> None:
    settings = Settings(
        host="127.0.0.1",
        http_port=port,
        grpc_port=free_port(),
        metrics_port=free_port(),
        parallel_workers=0,
        debug=False,
    )
    await MLServer(settings).start([ModelSettings(name="digits", implementation=Digits)])


if __name__ == "__main__":
    install_uvloop_event_loop()
    asyncio.run(serve(int(sys.argv[1])))
