"""Records of a source as the items of feedback that they stand for."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import msgspec

from driftline.errors import InvalidInput
from driftline.sources.avro import AvroCodec
from driftline.sources.base import Source, SourceRecord
from driftline.sources.formats import BY_SCHEMA, Decoded, decoded
from driftline.sources.mapping import PARTS, Place, RecordMapping
from driftline.sources.protobuf import ProtobufCodec
from driftline.sources.schemas import Codec, RecordSchemas
from driftline.spec import ModelSpec
from driftline.spec.parts.fields import TimeField
from driftline.support import json_text
from driftline.tables.fields import SecondsReader, Unreadable, reader_of
from driftline.tables.labels import label_reader

MAX_RECORD_BYTES = 4 * 2**20
"""A larger record is refused: it would not fit what is appended at once."""
_VERBATIM = frozenset({"prediction_id", "key", "id", "source"})
"""Parts that are texts, also where they look like a number."""
_uncoded = msgspec.json.Decoder(msgspec.Raw)
CODECS: Mapping[str, type[Codec]] = {"avro": AvroCodec, "protobuf": ProtobufCodec}


class SourceItem(msgspec.Struct, frozen=True, gc=False):
    """An item of feedback as JSON, and the id that it has if it names none; or why there is none."""

    id: str
    json: bytes = b""
    error: InvalidInput | None = None


class ItemReader:
    """Makes items of one model from the records of one source.

    Args:
        key: what the position of the source is stored under. The ids of items without their own begin with its digest.
    """

    def __init__(self, source: Source, spec: ModelSpec, key: str) -> None:
        self.source = source
        codec = CODECS.get(source.format)
        self.schemas = None if codec is None else RecordSchemas(source, codec())
        self.prefix = f"s:{hashlib.sha256(key.encode()).hexdigest()[:12]}"
        self.spec = spec
        mapping = source.mapping
        self._places = {
            part: Place(text) for part in PARTS if mapping is not None and (text := getattr(mapping, part)) is not None
        }
        self._are_items = mapping is None
        self._inputs = None if mapping is None else _inputs_of(mapping)
        self._label = label_reader(spec, ".", is_typed=False)
        self._seconds = SecondsReader(TimeField())
        fields = {} if spec.fields is None else spec.fields.read
        self._cells = {name: reader_of(field) for name, field in fields.items() if not field.dropped}
        self._names = {name: (name, *fields[name].aliases) for name in self._cells}

    async def learn(self, records: Iterable[SourceRecord]) -> None:
        """Fetches what records are read by, before :meth:`items` of them: the schemas that they name, where they need some.

        Raises:
            Unavailable: the schemas cannot be read now.
        """
        if self.schemas is not None:
            await self.schemas.learn(record.raw for record in records if record.format in BY_SCHEMA)

    def items(self, record: SourceRecord) -> Iterator[SourceItem]:
        """The items of one record, each with an id that it has again whenever it is read again."""
        if len(record.raw) > MAX_RECORD_BYTES:
            message = f"the record has {len(record.raw):,} bytes, more than {MAX_RECORD_BYTES:,}"
            yield SourceItem(self._id(record, 0), error=InvalidInput(message, field="record"))
            return
        if self._are_items and record.format == "json" and record.raw.lstrip().startswith(b"{"):
            # It means what it would mean to the API, and what is wrong with it is told by whoever reads it there.
            yield SourceItem(self._id(record, 0), record.raw)
            return
        for number, found in enumerate(self._decoded(record)):
            identifier = self._id(record, number)
            if isinstance(found, InvalidInput):
                yield SourceItem(identifier, error=found)
                continue
            try:
                yield SourceItem(identifier, self._json(found))
            except InvalidInput as error:
                yield SourceItem(identifier, error=error)
            except (TypeError, ValueError, OverflowError) as error:
                message = f"record: it holds what no item can: {error}"
                yield SourceItem(identifier, error=InvalidInput(message, field="record"))

    def _decoded(self, record: SourceRecord) -> Iterator[Decoded | InvalidInput]:
        if record.values is not None:
            yield Decoded(record.values)
            return
        if record.format not in BY_SCHEMA:
            yield from decoded(record.raw, record.format, self.source.columns)
            return
        try:
            if self.schemas is None:
                what = f"it was read as {record.format}, and the source has another format now"
                raise InvalidInput(f"record: {what}", field="record")
            if not record.raw:
                raise InvalidInput("the record is empty", field="record")
            yield Decoded(self.schemas.values(record.raw))
        except InvalidInput as error:
            yield error

    def _id(self, record: SourceRecord, number: int) -> str:
        return f"{self.prefix}:{record.place}" + (f":{number}" if number else "")

    def _json(self, record: Decoded) -> bytes:
        """The item of a record. One that is an item itself stays as it is written: it means what it would mean to the API."""
        if self.source.mapping is None and record.json is not None:
            return record.json
        return msgspec.json.encode(self._item(record))

    def _item(self, record: Decoded) -> dict[str, Any]:
        if self.source.mapping is not None:
            return self._mapped(record)
        if not record.are_texts:
            return record.values
        values = {name: self._of_text(name, text) for name, text in record.values.items()}
        is_kept = any(part in values and part not in self._cells for part in ("inputs", "prediction_id", "key"))
        if self._cells and not is_kept:
            item = {name: values[name] for name in PARTS if name in values and name not in self._cells}
            return item | {"inputs": self._row(record, lambda name: self._by_name(record.values, name))}
        return values

    def _mapped(self, record: Decoded) -> dict[str, Any]:
        item: dict[str, Any] = {}
        for part, place in self._places.items():
            value = place(record.values)
            if value is not None and value != "":
                item[part] = self._part(part, value, record.are_texts)
        if "label" not in item:
            message = f"mapping: the record has no label at {self._places['label'].text!r}"
            raise InvalidInput(message, field="label")
        # A prediction, or a key alone, has inputs that were kept.
        if "prediction_id" not in item and not ("key" in item and self._inputs is None):
            item["inputs"] = self._mapped_inputs(record)
        if self.source.mapping is not None and self.source.mapping.revise:
            item["revise"] = True
        return item

    def _mapped_inputs(self, record: Decoded) -> Any:
        if isinstance(self._inputs, dict):
            places = self._inputs
            if not self._cells:
                return {name: place(record.values) for name, place in places.items()}
            return self._row(record, lambda name: places[name](record.values) if name in places else None)
        if self._inputs is not None:
            found = self._inputs(record.values)
            if found is None:
                raise InvalidInput(f"mapping: the record has no inputs at {self._inputs.text!r}", field="inputs")
            return _parsed(found) if record.are_texts else found
        if self._cells:
            return self._row(record, lambda name: self._by_name(record.values, name))
        raise InvalidInput("mapping: it does not say where the inputs stand", field="mapping.inputs")

    def _row(self, record: Decoded, value_of: Callable[[str], Any]) -> dict[str, Any]:
        """A row of the model's fields; a text is read as its field is written, in a table as well as here."""
        row = {}
        for name, read in self._cells.items():
            value = value_of(name)
            if record.are_texts and value is not None:
                try:
                    value = read(value)
                except Unreadable as error:
                    raise InvalidInput(f"inputs.{name}: {error}", field=f"inputs.{name}", value=value) from None
            if value is not None:
                row[name] = value
        return row

    def _by_name(self, values: dict[str, Any], field: str) -> Any:
        return next((values[name] for name in self._names[field] if name in values), None)

    def _part(self, part: str, value: Any, is_text: bool) -> Any:
        if is_text:
            return self._of_text(part, value)
        if part in _VERBATIM:
            return str(value) if isinstance(value, int) and not isinstance(value, bool) else value
        return self._moment(value) if part == "time" else value

    def _of_text(self, part: str, text: str) -> Any:
        """A part of an item of texts. A label is the class that is written so, be its name a text or an integer."""
        if part in _VERBATIM:
            return text
        if part == "time":
            return self._moment(text)
        if part != "label":
            return _parsed(text)
        try:
            label = self._label(_unquoted(text))
        except Unreadable as error:
            raise InvalidInput(f"label: {error}", field="label", value=text) from None
        if label is None:
            raise InvalidInput("label: it is missing", field="label", value=text)
        return label

    def _moment(self, value: Any) -> Any:
        try:
            return self._seconds(value)
        except Unreadable as error:
            raise InvalidInput(f"time: {error}", field="time", value=value) from None


class SourceRowReader(ItemReader):
    """Makes rows to be answered of the records of one source: ``{"inputs", "key", "id"}``, as far as they have these."""

    def __init__(self, source: Source, spec: ModelSpec, key: str) -> None:
        super().__init__(source, spec, key)
        self._are_items = False

    def _json(self, record: Decoded) -> bytes:
        return msgspec.json.encode(
            self._mapped_row(record) if self.source.mapping is not None else self._own_row(record)
        )

    def _mapped_row(self, record: Decoded) -> dict[str, Any]:
        row = {"inputs": self._mapped_inputs(record)}
        for part in ("key", "id"):
            value = self._places[part](record.values) if part in self._places else None
            if value is not None and value != "":
                row[part] = self._part(part, value, record.are_texts)
        return row

    def _own_row(self, record: Decoded) -> dict[str, Any]:
        """A row that is written as one, or, where texts have the names of the model's fields, these."""
        values = record.values
        if record.are_texts and self._cells and ("inputs" in self._cells or "inputs" not in values):
            own = {part: values[part] for part in ("key", "id") if part in values and part not in self._cells}
            return own | {"inputs": self._row(record, lambda name: self._by_name(values, name))}
        for name in values:
            if name not in ("inputs", "key", "id"):
                raise InvalidInput(f"record: a row has no field {name!r}; it has inputs, key and id", field=name)
        if "inputs" not in values:
            raise InvalidInput("inputs: it is missing", field="inputs")
        return {name: self._of_text(name, value) if record.are_texts else value for name, value in values.items()}


def _inputs_of(mapping: RecordMapping) -> Place | dict[str, Place] | None:
    if isinstance(mapping.inputs, dict):
        return {name: Place(text) for name, text in mapping.inputs.items()}
    return None if mapping.inputs is None else Place(mapping.inputs)


def _unquoted(text: str) -> Any:
    """A text that is JSON of a list, an object or a string as what it says; else as it stands."""
    if text[:1] not in ('"', "[", "{"):
        return text
    return json_text.values(text.encode(), "label") if _is_json(text) else text


def _parsed(text: Any) -> Any:
    """The JSON of a text, as it stands; a text that is none is a string."""
    return msgspec.Raw(text.encode()) if isinstance(text, str) and _is_json(text) else text


def _is_json(text: str) -> bool:
    try:
        _uncoded.decode(text)
    except msgspec.DecodeError:
        return False
    return True
