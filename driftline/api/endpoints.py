"""The table of all calls: what the app mounts, the gatekeeper guards, the OpenAPI page shows, and the client makes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

from driftline.api import examples
from driftline.api.command_endpoints import CHANGE_RECIPE as CHANGE_RECIPE
from driftline.api.command_endpoints import CONTROL
from driftline.api.command_endpoints import FORGET as FORGET
from driftline.api.command_endpoints import PAUSE as PAUSE
from driftline.api.command_endpoints import PROMOTE as PROMOTE
from driftline.api.command_endpoints import RESUME as RESUME
from driftline.api.command_endpoints import ROLL_BACK as ROLL_BACK
from driftline.api.endpoint import FORM, NDJSON, Endpoint, MediaType
from driftline.api.event_endpoints import ACKNOWLEDGE as ACKNOWLEDGE
from driftline.api.event_endpoints import EVENTS
from driftline.api.event_endpoints import LIST_ALL_EVENTS as LIST_ALL_EVENTS
from driftline.api.event_endpoints import LIST_EVENTS as LIST_EVENTS
from driftline.api.event_endpoints import SHOW_SCORES as SHOW_SCORES
from driftline.api.health_endpoints import HEALTH
from driftline.api.health_endpoints import LIST_WORKERS as LIST_WORKERS
from driftline.api.health_endpoints import LIVEZ as LIVEZ
from driftline.api.health_endpoints import PROMETHEUS as PROMETHEUS
from driftline.api.health_endpoints import READYZ as READYZ
from driftline.api.history_endpoints import LIST_IMPORTS as LIST_IMPORTS
from driftline.api.history_endpoints import LIST_JOBS as LIST_JOBS
from driftline.api.history_endpoints import LIST_RECEIPTS as LIST_RECEIPTS
from driftline.api.history_endpoints import LIST_REJECTED as LIST_REJECTED
from driftline.api.history_endpoints import NOTE_IMPORT as NOTE_IMPORT
from driftline.api.history_endpoints import SHOW_KEY as SHOW_KEY
from driftline.api.key_endpoints import KEYS
from driftline.api.key_endpoints import LIST_KEYS as LIST_KEYS
from driftline.api.key_endpoints import MAKE_KEY as MAKE_KEY
from driftline.api.key_endpoints import REVOKE_KEY as REVOKE_KEY
from driftline.api.key_endpoints import ROTATE_KEY as ROTATE_KEY
from driftline.api.labeller_endpoints import DROP_LABELLER as DROP_LABELLER
from driftline.api.labeller_endpoints import LIST_LABELLERS as LIST_LABELLERS
from driftline.api.labeller_endpoints import RELEASE_LABELLER as RELEASE_LABELLER
from driftline.api.lazily import LazyModule
from driftline.api.scopes import ADMIN, ANYONE, READER, Scope
from driftline.api.source_endpoints import CHANGE_SOURCE as CHANGE_SOURCE
from driftline.api.source_endpoints import DROP_DEAD as DROP_DEAD
from driftline.api.source_endpoints import LIST_DEAD as LIST_DEAD
from driftline.api.source_endpoints import LIST_SOURCES as LIST_SOURCES
from driftline.api.source_endpoints import MAKE_SOURCE as MAKE_SOURCE
from driftline.api.source_endpoints import REMOVE_SOURCE as REMOVE_SOURCE
from driftline.api.source_endpoints import SEND_DEAD as SEND_DEAD
from driftline.api.source_endpoints import SHOW_SOURCE as SHOW_SOURCE
from driftline.api.source_endpoints import SOURCES
from driftline.api.source_endpoints import TRY_SOURCE as TRY_SOURCE

if TYPE_CHECKING:
    from driftline.api import control, feedback, health, inference, metrics, models, predictions
else:
    # A client makes calls and checks no message: it loads none of their types, nor the library that reads them.
    control, feedback, health, inference, metrics, models, predictions = (
        LazyModule(f"driftline.api.{name}")
        for name in ("control", "feedback", "health", "inference", "metrics", "models", "predictions")
    )

T = TypeVar("T")
MODELS, PREDICTIONS, FEEDBACK, PROTOCOL = "models", "predict", "feedback", "Open Inference Protocol"
TAGS = {
    MODELS: "What is served: create, show, remove, look back.",
    PREDICTIONS: "Answers, each with an id that a label can refer to.",
    FEEDBACK: "Labels, and how far each has come.",
    SOURCES: "Streams, tables and files that labels are read from.",
    CONTROL: "What an admin tells a model; the worker carries it out.",
    EVENTS: "What has happened to models, and how good they were when.",
    PROTOCOL: "The same models for the clients of that protocol.",
    KEYS: "Who may call, and what.",
    HEALTH: "Probes, workers and measurements.",
}
PARTS = {
    "model": "The model's name.",
    "version": "The number of a kept version.",
    "id": "The item's id.",
    "job": "The job's id.",
    "kind": "The kind of the alarm.",
    "key": "The part of the API key before the dot.",
    "file": "What the file is recognised by.",
    "source": "What the source goes by among those of its model.",
}
"""What stands in a path."""

_PREDICT: frozenset[Scope] = frozenset({"predict"})
_FEEDBACK: frozenset[Scope] = frozenset({"feedback"})


CREATE_MODEL: Final = Endpoint(
    "POST",
    "/v1/models",
    models.ModelState,
    "Create a model",
    MODELS,
    ADMIN,
    "Creates a model from a spec, with random weights or with yours. Version 1 answers at once.",
    examples.MODEL,
    201,
    bodies=(MediaType(models.SpecBody, examples.SPEC), MediaType(models.CreateParts, kind=FORM)),
    client="create_model",
    is_filtered=True,
)
LIST_MODELS: Final = Endpoint(
    "GET",
    "/v1/models",
    models.ModelList,
    "List models",
    MODELS,
    READER,
    "Every model, by name.",
    {"models": [examples.MODEL]},
    client="models",
    is_filtered=True,
)
SHOW_MODEL: Final = Endpoint(
    "GET",
    "/v1/models/{model}",
    models.ModelState,
    "Show a model",
    MODELS,
    READER,
    "The live version, how many labels are learned and waiting, the state and the spec.",
    examples.MODEL,
    client="model",
)
DELETE_MODEL: Final = Endpoint(
    "DELETE",
    "/v1/models/{model}",
    models.Deleted,
    "Delete a model",
    MODELS,
    ADMIN,
    "Removes a model with its log, its versions and all else that is kept of it.",
    {"deleted": "weather"},
    client="delete_model",
)
LIST_VERSIONS: Final = Endpoint(
    "GET",
    "/v1/models/{model}/versions",
    models.VersionList,
    "List versions",
    MODELS,
    READER,
    "Every kept version, oldest first, with the reason why it was promoted.",
    {"model": "weather", "live": 2, "versions": [examples.FIRST, examples.SECOND]},
    client="versions",
)
SHOW_VERSION: Final = Endpoint(
    "GET",
    "/v1/models/{model}/versions/{version}",
    models.VersionDetails,
    "Show a version",
    MODELS,
    READER,
    "One kept version; `report` is that of the retrain job that it came of, else null.",
    {**examples.SECOND, "report": None},
    client="version",
)
EXPORT_ADAPTER: Final = Endpoint(
    "GET",
    "/v1/models/{model}/versions/{version}/adapter",
    models.AdapterFiles,
    "Export an adapter",
    MODELS,
    ADMIN,
    "The adapters of a version, as PEFT loads them, with the output layer beside them.",
    {
        "config": {"peft_type": "LORA", "r": 8, "lora_alpha": 8, "target_modules": ["linear1"]},
        "weights": "OAAAAAAAAAB7Im1",
    },
    client="adapter",
)
SHOW_METRICS: Final = Endpoint(
    "GET",
    "/v1/models/{model}/metrics",
    metrics.ModelMetricsAnswer,
    "Metrics of a model",
    MODELS,
    READER,
    "How well the served answers were, how far learning is behind, and what has raised an alarm.",
    examples.METRICS,
    client="metrics",
)

PREDICT: Final = Endpoint(
    "POST",
    "/v1/models/{model}/predict",
    predictions.Predictions,
    "Predict",
    PREDICTIONS,
    _PREDICT,
    "Answers rows, each under an id that a label can refer to.",
    examples.PREDICTIONS,
    bodies=(MediaType(predictions.PredictBody, {"inputs": [examples.ROW]}),),
    declared_query=predictions.PredictQuery,
    client="predict",
)

GIVE_FEEDBACK: Final = Endpoint(
    "POST",
    "/v1/models/{model}/feedback",
    feedback.Accepted,
    "Give labels",
    FEEDBACK,
    _FEEDBACK,
    "Takes items, each accepted or refused by itself; refused as a whole where none is accepted.",
    {"accepted": 1, "items": [{"id": f"p:{examples.ID}", "status": "queued"}], "durability": "fsync_always"},
    202,
    bodies=(MediaType(feedback.FeedbackBody, {"items": [examples.ITEM]}),),
    client="feedback",
)
STREAM_FEEDBACK: Final = Endpoint(
    "POST",
    "/v1/models/{model}/feedback/stream",
    feedback.LineStatus,
    "Give labels, a line each",
    FEEDBACK,
    _FEEDBACK,
    "Takes one item a line and answers line by line, for as long as the client sends.",
    {"id": f"p:{examples.ID}", "status": "queued", "durability": "fsync_always"},
    answer_kind=NDJSON,
    bodies=(MediaType(feedback.FeedbackItem, examples.ITEM, NDJSON),),
    client="feedback_stream",
)
SHOW_RECEIPT: Final = Endpoint(
    "GET",
    "/v1/models/{model}/feedback/{id:path}",
    feedback.Receipt,
    "What became of a label",
    FEEDBACK,
    _FEEDBACK,
    "Whether an item is queued, learned, served, rejected or quarantined.",
    {"id": f"p:{examples.ID}", "state": "served", "version": 2},
    client="receipt",
)
SHOW_LOG: Final = Endpoint(
    "GET",
    "/v1/models/{model}/log",
    feedback.LogItem,
    "Show the kept log",
    FEEDBACK,
    ADMIN,
    "Every label from `start` on that is kept, a line each, with its inputs and what was answered.",
    examples.LOG_ITEM,
    answer_kind=NDJSON,
    declared_query=feedback.LogQuery,
    client="log",
)

RETRAIN: Final = Endpoint(
    "POST",
    "/v1/models/{model}/retrain",
    control.JobBegun,
    "Retrain",
    CONTROL,
    ADMIN,
    "Trains a copy of the learner on the kept examples, beside the stream; promoted only if the gate lets it pass.\n\n"
    "With `race` several recipes are trained on the same examples, the better ones for longer; the best goes on. With "
    "`dry_run` it answers 200 with the structure, size and cost before and after, and begins nothing.",
    {"job_id": "4be0c1-1f"},
    202,
    bodies=(MediaType(control.Retrain, examples.RETRAIN, examples=(examples.RACE,)),),
    also={200: MediaType(control.RetrainPreview, examples.PREVIEW)},
    has_key=True,
    client="retrain",
)
COMPARE: Final = Endpoint(
    "POST",
    "/v1/models/{model}/compare",
    control.JobBegun,
    "Compare two versions",
    CONTROL,
    ADMIN,
    "Measures two kept versions on what is held out and on the latest labels, and changes nothing.\n\n"
    "The job's report has `versions`, what each measures, and `differences`, with those that are `beyond_chance`.",
    {"job_id": "4be0c1-1f"},
    202,
    bodies=(MediaType(control.Compare, {"versions": [12, 17]}),),
    has_key=True,
    client="compare",
)
SHOW_JOB: Final = Endpoint(
    "GET",
    "/v1/jobs/{job}",
    control.JobState,
    "Show a job",
    CONTROL,
    READER,
    "How far a retrain or a comparison has come, and what it gave.",
    examples.JOB,
    client="job",
    is_filtered=True,
)
CANCEL_JOB: Final = Endpoint(
    "DELETE",
    "/v1/jobs/{job}",
    control.CommandQueued,
    "Cancel a job",
    CONTROL,
    ADMIN,
    "Ends a job that waits or runs; the model stays as it is.",
    {"command": 481},
    202,
    has_key=True,
    client="cancel_job",
    is_filtered=True,
)


DESCRIBE_SERVER: Final = Endpoint(
    "GET",
    "/v2",
    inference.ServerDescription,
    "Describe the server",
    PROTOCOL,
    READER,
    "The server's name and version, and the extensions that it knows.",
    {"name": "driftline", "version": "0.2.0", "extensions": ["binary_tensor_data"]},
    is_filtered=True,
)
SERVER_LIVE: Final = Endpoint(
    "GET",
    "/v2/health/live",
    inference.LiveProbe,
    "Is the process alive",
    PROTOCOL,
    ANYONE,
    "Answers for as long as the process runs.",
    {"live": True},
)
SERVER_READY: Final = Endpoint(
    "GET",
    "/v2/health/ready",
    inference.ReadyProbe,
    "Can it answer",
    PROTOCOL,
    ANYONE,
    "Ready once it has seen the store, and while every background task runs.",
    {"ready": True},
)


def _protocol(method: str, path: str, answer: type[T], summary: str, description: str, example: Any) -> Endpoint[T]:
    """A call about a model, or about one of its versions."""
    scopes: frozenset[Scope] = READER
    bodies: tuple[MediaType, ...] = ()
    if method == "POST":
        scopes, bodies = _PREDICT, (MediaType(inference.InferRequest, {"id": "7", "inputs": [examples.TENSOR]}),)
    return Endpoint(
        method, f"/v2/models/{{model}}{path}", answer, summary, PROTOCOL, scopes, description, example, bodies=bodies
    )


_DESCRIBE = "Its kept versions, its inputs, and its outputs. `prediction_id` is given where it is asked for."
_READY = "Whether it can be loaded; an error says why not."
_INFER = "Answers tensors, as JSON or as bytes that follow it; the ids of the predictions stand in `parameters`."
DESCRIBE_MODEL: Final = _protocol(
    "GET", "", inference.ModelDescription, "Describe a model", _DESCRIBE, examples.DESCRIBED
)
DESCRIBE_VERSION: Final = _protocol(
    "GET", "/versions/{version}", inference.ModelDescription, "Describe a version", _DESCRIBE, examples.DESCRIBED
)
MODEL_READY: Final = _protocol("GET", "/ready", inference.ReadyProbe, "Can a model answer", _READY, {"ready": True})
VERSION_READY: Final = _protocol(
    "GET", "/versions/{version}/ready", inference.ReadyProbe, "Can a version answer", _READY, {"ready": True}
)
INFER: Final = _protocol("POST", "/infer", inference.InferAnswer, "Infer", _INFER, examples.INFERRED)
INFER_VERSION: Final = _protocol(
    "POST", "/versions/{version}/infer", inference.InferAnswer, "Infer with a version", _INFER, examples.INFERRED
)

ENDPOINTS: tuple[Endpoint[Any], ...] = tuple(found for found in list(globals().values()) if isinstance(found, Endpoint))
"""All of them."""
