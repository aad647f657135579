"""Records of Avro."""

from __future__ import annotations

import io
import json
from typing import Any

from driftline.sources.base import lacks
from driftline.sources.schemas import Codec, SchemaText
from driftline.tables.cells import plain


class AvroCodec(Codec):
    """Reads records by the schema that they were written by. Decimals are numbers, moments and dates are ISO 8601."""

    def __init__(self) -> None:
        try:
            import fastavro
        except ImportError:
            raise lacks("fastavro", "avro") from None
        self.fastavro: Any = fastavro
        self.errors = (*self.errors, fastavro.schema.SchemaParseException, fastavro.schema.UnknownType)

    def of_registry(self, schema: SchemaText) -> Any:
        named: dict[str, Any] = {}
        for _, text in schema.references:
            self.fastavro.parse_schema(json.loads(text), named)
        return self.fastavro.parse_schema(json.loads(schema.text), named)

    def of_file(self, text: bytes, message: str | None) -> Any:
        return self.of_registry(SchemaText(text))

    def values(self, schema: Any, raw: bytes) -> Any:
        file = io.BytesIO(raw)
        found = self.fastavro.schemaless_reader(file, schema, None)
        if left := len(raw) - file.tell():
            raise ValueError(f"{left} bytes are left after it")
        return _plain(found)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list) else plain(value)
