"""Records of Protobuf."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from typing import Any

from driftline.sources.base import lacks
from driftline.sources.schemas import Codec, SchemaText
from driftline.tables.cells import plain


class _Messages:
    """The messages of a file, and of those that it needs, as classes."""

    def __init__(self, files: list[Any]) -> None:
        from google.protobuf import descriptor_pool

        self.file = files[-1]
        self.pool: Any = descriptor_pool.DescriptorPool()
        there = {file.name for file in files}
        for file in files:
            for needed in file.dependency:
                if needed not in there and needed.startswith("google/protobuf/"):
                    there.add(needed)
                    self.pool.AddSerializedFile(_well_known(needed))
            self.pool.AddSerializedFile(file.SerializeToString())
        self._classes: dict[str, Any] = {}

    def named(self, name: str) -> Any:
        """The class of a message by its full name; :class:`KeyError` where there is none."""
        from google.protobuf import message_factory

        if name not in self._classes:
            self._classes[name] = message_factory.GetMessageClass(self.pool.FindMessageTypeByName(name))
        return self._classes[name]

    def at(self, places: list[int]) -> str:
        """The full name of a message by its place in the file, and in the messages around it."""
        found = self.file.message_type[places[0]]
        names = [*filter(None, [self.file.package]), found.name]
        for place in places[1:]:
            found = found.nested_type[place]
            names.append(found.name)
        return ".".join(names)


class ProtobufCodec(Codec):
    """Reads messages by descriptors: a registry gives them as bytes, and a file is what ``protoc --descriptor_set_out`` writes.

    Numbers are numbers, of whatever width; an enum is the name of its value; a moment is one; a field that is not set, and that
    tells so, is missing.
    """

    query = "?format=serialized"

    def __init__(self) -> None:
        try:
            from google.protobuf import descriptor_pb2, json_format
            from google.protobuf.message import DecodeError
        except ImportError:
            raise lacks("protobuf", "protobuf") from None
        self.descriptors: Any = descriptor_pb2
        self._json: Any = json_format
        self.errors = (*self.errors, DecodeError)

    def of_registry(self, schema: SchemaText) -> tuple[_Messages, str | None]:
        files = [self._file(text, name) for name, text in schema.references]
        return _Messages([*files, self._file(schema.text, "")]), None

    def _file(self, text: bytes, name: str) -> Any:
        file = self.descriptors.FileDescriptorProto.FromString(base64.b64decode(text, validate=True))
        file.name = name or file.name
        return file

    def of_file(self, text: bytes, message: str | None) -> tuple[_Messages, str | None]:
        files = [*self.descriptors.FileDescriptorSet.FromString(text).file]
        if not files:
            raise ValueError("it is empty: it is written by `protoc --include_imports --descriptor_set_out`")
        messages = _Messages(files)
        name = message or messages.at([0])
        messages.named(name)
        return messages, name

    def values(self, schema: Any, raw: bytes) -> Any:
        messages, name = schema
        if name is None:
            places, raw = _places(raw)
            name = messages.at(places)
        return self._of_message(messages.named(name).FromString(raw))

    def _of_message(self, message: Any) -> Any:
        kind = message.DESCRIPTOR
        if kind.full_name == "google.protobuf.Timestamp":
            return datetime.fromtimestamp(message.seconds, UTC) + timedelta(microseconds=message.nanos // 1000)
        if kind.file.name == "google/protobuf/wrappers.proto":
            return plain(message.value)
        if kind.full_name.startswith("google.protobuf."):
            return self._json.MessageToDict(message)
        return {
            field.name: self._of_field(field, getattr(message, field.name))
            for field in kind.fields
            if not field.has_presence or message.HasField(field.name)
        }

    def _of_field(self, field: Any, value: Any) -> Any:
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            of_value = field.message_type.fields_by_name["value"]
            return {str(key): self._of_value(of_value, value[key]) for key in value}
        return [self._of_value(field, each) for each in value] if field.is_repeated else self._of_value(field, value)

    def _of_value(self, field: Any, value: Any) -> Any:
        if field.message_type is not None:
            return self._of_message(value)
        if field.enum_type is not None:
            named = field.enum_type.values_by_number.get(value)
            return value if named is None else named.name
        return plain(value)


def _places(raw: bytes) -> tuple[list[int], bytes]:
    """Which message of the file it is: a count and so many places, each written as a variable signed number; 0 is ``[0]``."""
    count, at = _signed(raw, 0)
    places = []
    for _ in range(count):
        place, at = _signed(raw, at)
        places.append(place)
    if any(place < 0 for place in places) or count < 0:
        raise ValueError("it does not say which message of its schema it is")
    return places or [0], raw[at:]


def _signed(raw: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = raw[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return (value >> 1) ^ -(value & 1), at


def _well_known(path: str) -> bytes:
    """A file that comes with Protobuf itself, as bytes; :class:`ValueError` where there is none."""
    import importlib

    try:
        module = importlib.import_module(path.removesuffix(".proto").replace("/", ".") + "_pb2")
    except ImportError:
        raise ValueError(f"{path} does not come with protobuf") from None
    return bytes(module.DESCRIPTOR.serialized_pb)
