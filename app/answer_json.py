"""The predictions of an answer as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from driftline.spec.value_layout import ValueLayout

from .answers import Batch, BatchAnswer
from .snapshot import Snapshot


def encoded_rows(answer: BatchAnswer) -> list[bytes]:
    """The JSON of each row's prediction."""
    batch = answer.batch
    texts = batch.texts
    ids = [b"null" if identifier is None else b'"%b"' % identifier.encode() for identifier in answer.ids]
    spec = batch.snapshot.spec
    if spec.kind.is_multilabel:
        return [
            b'{"id":%b,"labels":[%b],"probabilities":[%b]}' % (i, b",".join(labels_text(batch, row)), texts[row])
            for i, row in zip(ids, answer.places, strict=True)
        ]
    if not spec.kind.has_classes:
        return [
            b'{"id":%b,%b}' % (i, value_text(spec.values, texts[row]))
            for i, row in zip(ids, answer.places, strict=True)
        ]
    labels, indices = batch.snapshot.label_texts, batch.indices
    return [
        b'{"id":%b,"label":%b,"probabilities":[%b]}' % (i, labels[indices[row]], texts[row])
        for i, row in zip(ids, answer.places, strict=True)
    ]


def message_texts(batch: Batch, tokens: Mapping[int, bytes], keys: Mapping[int, str]) -> list[bytes]:
    """What comes after :func:`message_head` in the JSON of a message of each row; ``tokens`` by the first row of each request,
    ``keys`` by row."""
    found, ends = list[bytes](), [*list(tokens)[1:], len(batch.outputs)]
    for (first, token), end in zip(tokens.items(), ends, strict=True):
        texts = encoded_rows(BatchAnswer(batch, first, end - first, token.hex()))
        found += [
            b'"key":%b,%b' % (msgspec.json.encode(keys.get(row)), text[1:]) for row, text in enumerate(texts, first)
        ]
    return found


def message_head(snapshot: Snapshot) -> bytes:
    """The beginning of the JSON of a message that holds one prediction of a version."""
    return snapshot.answer_head.removesuffix(b'"predictions":[')


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
