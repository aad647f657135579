"""``POST /v1/models/{model}/predict``."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import parse_qs

from starlette.types import Scope

from driftline.api import endpoints
from driftline.errors import InvalidInput
from driftline.rows.rows import Rows
from driftline.spec.value_layout import ValueLayout

from ..answers import Batch, BatchAnswer
from ..engine import ModelQueue
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

    def read(self, model: ModelQueue, headers: Headers, body: bytes) -> tuple[Rows, Encode]:
        return model.snapshot.body.decode(body), encode


def encode(answer: BatchAnswer) -> Content:
    """The answer's JSON: ``{"model", "version", "classes", "predictions": [{"id", "label", "probabilities"}]}``.

    A multi-label model has ``labels`` in place of ``label``. A regression has no ``classes``, and a ``value`` a row (of several
    outputs ``values``), with its ``interval`` where the spec asks for them.
    """
    batch = answer.batch
    texts = batch.texts
    ids = [b"null" if identifier is None else b'"%b"' % identifier.encode() for identifier in answer.ids]
    spec = batch.snapshot.spec
    if spec.kind.is_multilabel:
        rows = [
            b'{"id":%b,"labels":[%b],"probabilities":[%b]}' % (i, b",".join(labels_text(batch, row)), texts[row])
            for i, row in zip(ids, answer.places, strict=True)
        ]
    elif not spec.kind.has_classes:
        rows = [
            b'{"id":%b,%b}' % (i, value_text(spec.values, texts[row]))
            for i, row in zip(ids, answer.places, strict=True)
        ]
    else:
        labels, indices = batch.snapshot.label_texts, batch.indices
        rows = [
            b'{"id":%b,"label":%b,"probabilities":[%b]}' % (i, labels[indices[row]], texts[row])
            for i, row in zip(ids, answer.places, strict=True)
        ]
    return Content(200, b"%b%b]}" % (batch.snapshot.answer_head, b",".join(rows)), JSON)


def labels_text(batch: Batch, row: int) -> Sequence[bytes]:
    """The classes that a row was given, each as JSON."""
    texts = batch.snapshot.label_texts
    return [texts[place] for place in batch.is_of_class[row].nonzero()[0].tolist()]


def value_text(layout: ValueLayout, text: bytes) -> bytes:
    """The fields of a regression's answer, of its numbers as JSON with commas between them."""
    if layout.is_plain:
        return b'"value":' + text
    numbers = text.split(b",")
    values, size = numbers[: layout.outputs], len(layout.levels)
    # No number is null but in place of an interval that is not known yet.
    ends = [
        b"null" if numbers[first] == b"null" else b"[%b]" % b",".join(numbers[first : first + size])
        for first in range(layout.outputs, len(numbers), size or 1)
    ]
    if not layout.has_several:
        return b'"value":%b,"interval":%b' % (values[0], ends[0])
    interval = b',"interval":' + _by_output(layout, ends) if ends else b""
    return b'"values":%b%b' % (_by_output(layout, values), interval)


def _by_output(layout: ValueLayout, texts: Sequence[bytes]) -> bytes:
    """JSON of one value for each output: an object where these have names, else an array."""
    if layout.names is None:
        return b"[%b]" % b",".join(texts)
    return b"{%b}" % b",".join(b"%b:%b" % pair for pair in zip(layout.name_texts, texts, strict=True))
