"""Messages about models and their versions."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field, WithJsonSchema
from typing_extensions import TypedDict

from driftline.api.message import message


class SpecBody(dict[str, Any]):
    """A spec. :class:`driftline.spec.ModelSpec` reads it; a client needs to know no more of it."""


@message
class CreateParts(TypedDict):
    """The parts of a model that brings its weights, or an example, along."""

    spec: Annotated[str, WithJsonSchema({"type": "string", "contentMediaType": "application/json"})]
    """The spec, as JSON."""
    weights: NotRequired[Annotated[bytes, WithJsonSchema({"type": "string", "format": "binary"})]]
    """A safetensors file with the network's tensors by name."""
    example: NotRequired[Annotated[str, WithJsonSchema({"type": "string", "contentMediaType": "application/json"})]]
    """Inputs of some rows, as a predict call has them, on which a network of your own is tried out."""


@message
class ModelState(TypedDict):
    """A model as it stands now."""

    name: str
    """The name that it goes by."""
    version: int
    """The live version."""
    learned: int
    """Labels that it has learned."""
    waiting: int
    """Labels in its log that are not learned yet."""
    state: Literal["idle", "learning", "paused"]
    """What it does: nothing, learn, or wait until learning is resumed."""
    created: float
    """When it was made, in seconds since 1970."""
    spec: dict[str, Any]
    """Its spec, with every default filled in."""
    swap_failure: NotRequired[str]
    """Why the process that answers does not serve the newest version, where that is so."""


@message
class ModelList(TypedDict):
    """Every model."""

    models: list[ModelState]
    """The models, by name."""


@message
class Deleted(TypedDict):
    """A model that is gone."""

    deleted: str
    """The name that it went by."""


@message
class VersionState(TypedDict):
    """A kept version."""

    version: Annotated[int, Field(description="Its number.")]
    parent: Annotated[int | None, Field(description="The version that it came of; null for the first.")]
    step: Annotated[int, Field(description="The step that published it.")]
    offset: Annotated[int, Field(description="The number of the last record in the log that it had learned.")]
    created: Annotated[float, Field(description="When it was published, in seconds since 1970.")]
    reason: Annotated[str, Field(description="Why it was published.")]
    scores: Annotated[dict[str, float], Field(description="What the gate decided by.")]


@message
class VersionDetails(VersionState):
    """A kept version, and what it came of."""

    report: dict[str, Any] | None
    """The report of the retrain job that it came of; null where it came of none."""


@message
class AdapterFiles(TypedDict):
    """An adapter in the format of PEFT."""

    config: dict[str, Any]
    """What `adapter_config.json` holds."""
    weights: str
    """The file `adapter_model.safetensors`, in base64."""


@message
class VersionList(TypedDict):
    """The history of a model."""

    model: str
    """The model's name."""
    live: int
    """The version that answers."""
    versions: list[VersionState]
    """Every kept version, oldest first."""
