"""Messages about what an admin tells a model, and about jobs."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from driftline.api.message import Body, message


class Retrain(Body):
    """Another recipe, edits of the network, a race, and how often to go through the kept examples."""

    recipe: dict[str, Any] = Field({})
    """Changes, merged over the model's recipe."""
    edits: list[dict[str, Any]] = Field([], max_length=100)
    """Edits of the network, in order."""
    race: list[Any] = Field([], min_length=2, max_length=16, json_schema_extra={"items": {"type": "object"}})
    """Recipes to compare, each merged over ``recipe``: the best one is gone on with.

    Plain changes, or ``{"recipe": {…}, "edits": […]}``."""
    epochs: int = Field(3, ge=1, le=1000)
    """How often to go through the kept examples."""
    reason: str = Field("", max_length=1000)
    """Kept with the job and its events."""
    dry_run: bool = False
    """Say what it would give and cost, and begin nothing."""


Name = Annotated[str, Field(min_length=1, max_length=200)]


class Forget(Body):
    """What is to be forgotten: by name, or by the source and the time of its labels."""

    keys: list[Name] = Field([], max_length=10_000)
    """Your own keys of rows, labelled or not."""
    ids: list[Name] = Field([], max_length=10_000)
    """Ids of items or of predictions."""
    source: str | None = Field(None, min_length=1, max_length=200)
    """Labels of this source."""
    since: float | None = Field(None, ge=0, le=1e10)
    """Labels from this time on, in seconds since 1970, as the log shows it."""
    until: float | None = Field(None, ge=0, le=1e10)
    """Labels before this time."""
    reason: str = Field("", max_length=1000)
    """Kept with the job and its event."""
    dry_run: bool = False
    """Say what would be forgotten and learned again, and begin nothing."""


class Reason(Body):
    """Why a command is given."""

    reason: str = Field("", max_length=1000)
    """Kept with the event."""


class Compare(Body):
    """Which two kept versions stand side by side."""

    versions: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=2, max_length=2)]
    """Their numbers; differences are the second's less the first's."""
    reason: str = Field("", max_length=1000)
    """Kept with the event."""


class Rollback(Body):
    """Which version to return to."""

    version: Annotated[int, Field(ge=1)]
    """Its number."""
    reason: str = Field("", max_length=1000)
    """Kept with the event."""


@message
class ReasonQuery(TypedDict, total=False):
    """Why a command is given, where its body holds something else."""

    reason: Annotated[str, Field(max_length=1000)]
    """Kept with the event."""


RecipeChange = Annotated[dict[str, Any], Field(description="Fields of the recipe, merged over those that it has.")]


@message
class CommandQueued(TypedDict):
    """A command that is in the log; the worker carries it out."""

    command: int
    """Its number in the log."""


@message
class JobBegun(TypedDict):
    """A job that waits for its turn."""

    job_id: str
    """What it goes by."""


@message
class JobState(TypedDict):
    """A retrain, a comparison or an erasure."""

    id: NotRequired[str]
    """What it goes by."""
    state: Literal["queued", "running", "succeeded", "failed", "cancelled"]
    """How far it has come."""
    progress: NotRequired[float]
    """The share that is done, from 0 to 1."""
    promoted: NotRequired[bool | None]
    """Whether its result went live; null while that is open, and of a comparison."""
    version: NotRequired[int | None]
    """The version that its result became."""
    reason: NotRequired[str]
    """Why it was asked for."""
    asked_by: NotRequired[str]
    """Who asked for it."""
    report: NotRequired[dict[str, Any] | None]
    """What it has changed: scores, size and speed ``before`` and ``after``; of a comparison of both ``versions``. While it
    runs, how its ``race`` stands."""


@message
class ForgetPreview(TypedDict):
    """What would be forgotten; nothing is begun."""

    labels: int
    """Labels that the log holds of it, corrections counted."""
    learned: int
    """Those that were learned."""
    predictions: int
    """Recorded predictions."""
    relearned: int
    """Records that would be learned again, without these."""
    unlearned: bool
    """Whether the weights would know nothing of them; else they are too old: no state from before them is left."""
    versions: list[int]
    """Versions that have learned some of them, and would be deleted."""
    unknown: list[str]
    """Keys and ids of which nothing is kept."""


@message
class LayerSize(TypedDict):
    """A layer, and what it holds."""

    name: str
    """Its name."""
    type: str
    """Its type."""
    shape: list[int] | None
    """The shape of a row after it; null where it is not used exactly once."""
    parameters: int
    """Its parameters."""
    trained: int
    """How many of them are trained."""


@message
class NetworkSize(TypedDict):
    """What a network consists of, and costs."""

    layers: list[LayerSize]
    """Its layers, in order."""
    parameters: int
    """Its parameters."""
    trained: int
    """How many of them are trained."""
    bytes: int
    """What its weights and buffers take."""
    flops: int
    """Floating-point operations for one row."""


@message
class TrainingCost(TypedDict):
    """What a job takes at most."""

    examples: int
    """Examples that it trains on."""
    updates: int
    """Gradient updates."""
    flops: int
    """Floating-point operations of all of these."""


@message
class RetrainPreview(TypedDict):
    """What a retrain would give, and cost; nothing is begun."""

    before: NetworkSize
    """The live network."""
    after: NetworkSize
    """What the edits make of it."""
    keeps_function: bool
    """Whether it answers as before until it is trained."""
    training: TrainingCost
    """What training takes."""
    race: NotRequired[list[dict[str, Any]]]
    """Each entry of a race, with its size."""
