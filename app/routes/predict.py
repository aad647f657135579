"""``POST /v1/models/{model}/predict``."""

from __future__ import annotations

from urllib.parse import parse_qs

from starlette.types import Scope

from driftline.errors import InvalidInput
from driftline.rows.rows import Rows

from ..answers import BatchAnswer
from ..engine import ModelQueue
from ..fast_path import Encode, FastPathCall, Headers, parse_version
from ..responses import JSON, Content


class Predict(FastPathCall):
    """Answers predict calls of all models."""

    is_v2 = False
    kind = b"application/json"

    def version(self, scope: Scope) -> int | None:
        query: bytes = scope["query_string"]
        if not query:
            return None
        fields = parse_qs(query.decode("latin-1"), keep_blank_values=True)
        for name in fields:
            if name != "version":
                raise InvalidInput(f"query: there is no parameter {name!r}; there is version", field=name)
        return parse_version(fields["version"][-1]) if fields else None

    def read(self, model: ModelQueue, headers: Headers, body: bytes) -> tuple[Rows, Encode]:
        return model.snapshot.body.decode(body), encode


def encode(answer: BatchAnswer) -> Content:
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
    return Content(200, b"%b%b]}" % (batch.snapshot.answer_head, b",".join(rows)), JSON)
