"""``POST /v1/models/{model}/predict``."""

from __future__ import annotations

from urllib.parse import parse_qs

from starlette.types import Scope

from driftline.api import endpoints
from driftline.errors import InvalidInput
from driftline.rows.rows import Rows

from ..answer_json import encoded_rows
from ..answers import BatchAnswer
from ..engine import ModelQueue, too_many_rows
from ..fast_path import Encode, FastPathCall, Headers, parse_version
from ..responses import JSON, Content


class Predict(FastPathCall):
    """Answers predict calls of all models."""

    is_v2 = False
    kind = b"application/json"
    path = endpoints.PREDICT.shown_path

    def version(self, scope: Scope) -> int | None:
        query: bytes = scope["query_string"]
        if not query:
            return None
        fields = parse_qs(query.decode("latin-1"), keep_blank_values=True)
        for name in fields:
            if name != "version":
                raise InvalidInput(f"query: there is no parameter {name!r}; there is version", field=name)
        return parse_version(fields["version"][-1]) if fields else None

    def on_loop_bytes(self, model: ModelQueue) -> int:
        return model.snapshot.body.on_loop_bytes

    def read(self, model: ModelQueue, headers: Headers, body: bytes) -> tuple[Rows, Encode]:
        reader, most = model.snapshot.body, model.snapshot.limits.max_queue
        if reader.may_exceed(body, most) and (count := reader.count(body)) > most:
            raise too_many_rows(count, most)
        return reader.decode(body), encode


def encode(answer: BatchAnswer) -> Content:
    """The answer's JSON: ``{"model", "version", "classes", "predictions": [{"id", "label", "probabilities"}]}``.

    A multi-label model has ``labels`` in place of ``label``. A regression has no ``classes``, and a ``value`` a row (of several
    outputs ``values``), with its ``interval`` where the spec asks for them.
    """
    return Content(200, b"%b%b]}" % (answer.batch.snapshot.answer_head, b",".join(encoded_rows(answer))), JSON)
