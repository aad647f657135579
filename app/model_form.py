"""What a new model is made from: a spec as JSON, or a form that brings weights and an example along."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import msgspec
from fastapi import Request
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from driftline.errors import InvalidInput
from driftline.ingest import rows
from driftline.rows.rows import Rows
from driftline.spec import ModelSpec, parse
from driftline.spec.based import BasedSpec, is_based
from driftline.support.json_text import loads

from .fast_path import by_length, check_kind, read_body

PARTS = '"spec", and "weights" (a file) or "example" or both'


@contextlib.asynccontextmanager
async def model_form(request: Request) -> AsyncIterator[tuple[ModelSpec | BasedSpec, Path | None, Rows | None]]:
    """The spec of a request, the file of its weights, and the rows of its example, while the body of the context runs."""
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        check_kind(dict(request.scope["headers"]), b"application/json")
        body = await by_length(loads, await read_body(request.receive))
        yield parse(BasedSpec, body) if is_based(body) else parse(ModelSpec, body), None, None
        return
    async with _parsed(request) as form:
        unknown = sorted(set(form) - {"spec", "weights", "example"})
        weights = form.get("weights")
        if "spec" not in form or len(form) < 2 or unknown or isinstance(weights, str):
            raise InvalidInput(f"a multipart body has the parts {PARTS}, not {', '.join(form) or 'none'}", field="body")
        body = await by_length(partial(loads, field="spec"), await _text(form["spec"]))
        if is_based(body):
            yield _with_adapter(body, form), Path(weights.file.name) if weights is not None else None, None
            return
        spec = parse(ModelSpec, body)
        example = await by_length(partial(_example, spec), await _text(form["example"])) if "example" in form else None
        yield spec, Path(weights.file.name) if weights is not None else None, example


def _with_adapter(body: Any, form: FormData) -> BasedSpec:
    """The spec of a model on a base that brings an adapter along."""
    spec = parse(BasedSpec, body)
    if spec.network.adapter.peft is None or "weights" not in form or "example" in form:
        message = "network.base: a model on a base has its weights, and brings none but those of an adapter (`peft`)"
        raise InvalidInput(message, field="network.base", value=spec.network.base)
    return spec


class _FilesOnDisk(MultiPartParser):
    """Writes each file to one that has a name, so that it can be mapped; all are gone once they are closed."""

    def on_headers_finished(self) -> None:
        super().on_headers_finished()
        if self._current_part.file is not None:
            self._current_part.file.file.close()
            file: Any = NamedTemporaryFile(prefix="driftline-")  # noqa: SIM115 - closed with the form
            self._current_part.file.file = file
            self._files_to_close_on_error.append(file)


@contextlib.asynccontextmanager
async def _parsed(request: Request) -> AsyncIterator[FormData]:
    try:
        form = await _FilesOnDisk(request.headers, request.stream(), max_files=3, max_fields=3).parse()
    except MultiPartException as error:
        raise InvalidInput(f"body: {error.message}", code="malformed_form", field="body") from None
    try:
        for part in form.values():
            if isinstance(part, UploadFile):
                part.file.flush()
        yield form
    finally:
        await form.close()


async def _text(part: UploadFile | str) -> bytes:
    return await part.read() if isinstance(part, UploadFile) else part.encode()


def _example(spec: ModelSpec, data: bytes) -> Rows:
    inputs = rows.decoded(msgspec.json.Decoder(rows.json_type(spec, batched=True)), data, "example")
    try:
        return rows.RowReader(spec).batch(inputs)
    except InvalidInput as error:
        raise error.within("example", data.decode(errors="replace")) from None
