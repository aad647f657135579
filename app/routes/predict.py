"""``POST /v1/models/{model}/predict``: the hot path, a plain ASGI route beside FastAPI's machinery."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import msgspec
import orjson
from starlette.types import Receive, Scope, Send

from app.engine import Answer
from app.security import send_error, send_json
from app.services import Services
from driftline import inputs
from driftline.errors import DriftlineError, UnsupportedMedia

logger = logging.getLogger("driftline.predict")


class Predict:
    """Answers predict calls of all models."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            body = await self._answer(scope, receive)
        except DriftlineError as error:
            await send_error(send, error)
        except asyncio.CancelledError:
            raise
        except Exception as error:  # A user's own network may raise anything.
            logger.exception("predict failed")
            await send_error(send, DriftlineError(f"the model's network failed: {error!r}", code="network_failed"))
        else:
            await send_json(send, 200, body)

    async def _answer(self, scope: Scope, receive: Receive) -> bytes:
        services: Services = scope["app"].state.services
        name = scope["path_params"]["model"]
        model = await services.follower.model(name)
        body = await read_body(scope, receive)
        try:
            decoded = model.snapshot.predict_decoder.decode(body)
        except msgspec.DecodeError as error:
            raise inputs.malformed(error) from None
        rows = inputs.batch(model.snapshot.spec, decoded.inputs)
        return encode(name, await services.engine.predict(model, rows))


async def read_body(scope: Scope, receive: Receive, kind: bytes = b"application/json") -> bytes:
    """The whole body, which must be of content type ``kind``."""
    sent = next((value for name, value in scope["headers"] if name == b"content-type"), b"")
    if sent.partition(b";")[0].strip().lower() != kind:
        raise UnsupportedMedia(f"this call takes {kind.decode()}", field="Content-Type", value=sent.decode("latin-1"))
    parts = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise asyncio.CancelledError
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return parts[0] if len(parts) == 1 else b"".join(parts)


def encode(name: str, answer: Answer) -> bytes:
    """The answer's JSON: ``{"model", "version", "classes", "predictions": [{"id", "label", "probabilities"}]}``.

    A regression has no ``classes``, and a ``value`` a row.
    """
    snapshot, prefix = answer.snapshot, answer.id_prefix
    ids = [f"{prefix}{answer.first_row + row:x}" if prefix else None for row in range(len(answer.outputs))]
    body: dict[str, Any] = {"model": name, "version": snapshot.version}
    if snapshot.spec.task == "regression":
        values = answer.outputs[:, 0].tolist()
        body["predictions"] = [{"id": i, "value": value} for i, value in zip(ids, values, strict=True)]
    else:
        body["classes"] = orjson.Fragment(snapshot.classes_json)
        body["predictions"] = [
            {"id": i, "label": label, "probabilities": row}
            for i, label, row in zip(ids, answer.labels, answer.outputs, strict=True)
        ]
    return orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)
