"""``POST /v1/models/{model}/predict``: the hot path, a plain ASGI route beside FastAPI's machinery."""

from __future__ import annotations

import logging
from urllib.parse import parse_qs

from starlette.types import Receive, Scope, Send

from app.engine import Answer, Caller, Model
from app.security import content_type, send_error, send_json
from app.server import CALLER
from app.services import Services
from driftline.errors import DriftlineError, InvalidInput, UnsupportedMedia

logger = logging.getLogger("driftline.predict")


class ClientGone(DriftlineError):
    """The client went away before it had sent all; nobody waits for the answer."""

    status = 499
    default_code = "client_gone"


class Predict:
    """Answers predict calls of all models."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            body = await self._answer(scope, receive)
        except DriftlineError as error:
            await send_error(send, error)
        except Exception as error:  # A user's own network may raise anything.
            logger.exception("predict failed")
            await send_error(send, network_failed(error))
        else:
            await send_json(send, 200, body)

    async def _answer(self, scope: Scope, receive: Receive) -> bytes:
        services: Services = scope["app"].state.services
        model = await find_model(services, scope["path_params"]["model"], _version(scope["query_string"]))
        body = await read_body(scope, receive)
        rows = model.snapshot.body.decode(body)
        return encode(await services.engine.predict(model, rows, caller(scope)))


def network_failed(error: Exception) -> DriftlineError:
    """What a client is told when a user's own network has raised."""
    return DriftlineError(f"the model's network failed: {error!r}", code="network_failed")


async def find_model(services: Services, name: str, version: int | None) -> Model:
    """What answers for a name: its live version, or the one that is asked for."""
    if version is not None:
        return await services.follower.pinned(name, version)
    return services.follower.loaded(name) or await services.follower.model(name)


def parse_version(text: str) -> int:
    """A version's number; :class:`InvalidInput` where it is none."""
    if not (text.isascii() and text.isdigit() and 0 < len(text) < 16):
        raise InvalidInput(f"version: {text!r} is not the number of a version", field="version", value=text)
    return int(text)


def _version(query: bytes) -> int | None:
    if not query:
        return None
    fields = parse_qs(query.decode("latin-1"), keep_blank_values=True)
    for name in fields:
        if name != "version":
            raise InvalidInput(f"query: there is no parameter {name!r}; there is version", field=name)
    return parse_version(fields["version"][-1]) if fields else None


def caller(scope: Scope) -> Caller | None:
    """The connection of a request, where the server tells."""
    found: Caller | None = scope.get("extensions", {}).get(CALLER)
    return found


async def read_body(scope: Scope, receive: Receive, kind: bytes | None = b"application/json") -> bytes:
    """The whole body, which must be of content type ``kind`` where one is given; :class:`ClientGone` where it never comes."""
    if kind is not None:
        sent = content_type(dict(scope["headers"]))
        if sent != kind:
            value = sent.decode("latin-1")
            raise UnsupportedMedia(f"this call takes {kind.decode()}", field="Content-Type", value=value)
    parts = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone("the client has gone")
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return parts[0] if len(parts) == 1 else b"".join(parts)


def encode(answer: Answer) -> bytes:
    """The answer's JSON: ``{"model", "version", "classes", "predictions": [{"id", "label", "probabilities"}]}``.

    A regression has no ``classes``, and a ``value`` a row.
    """
    batch = answer.batch
    texts = batch.texts
    ids = [b"null" if identifier is None else b'"%b"' % identifier.encode() for identifier in answer.ids]
    if batch.snapshot.spec.task == "regression":
        rows = [b'{"id":%b,"value":%b}' % (i, texts[row]) for i, row in zip(ids, answer.places, strict=True)]
    else:
        labels, indices = batch.snapshot.label_texts, batch.indices
        rows = [
            b'{"id":%b,"label":%b,"probabilities":[%b]}' % (i, labels[indices[row]], texts[row])
            for i, row in zip(ids, answer.places, strict=True)
        ]
    return b"%b%b]}" % (batch.snapshot.answer_head, b",".join(rows))
