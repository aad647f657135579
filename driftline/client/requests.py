"""Every call of the REST interface as data: what is sent, and what an answer means. Sends nothing itself."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict, cast
from urllib.parse import quote

import httpx

from driftline.errors import ConfigurationError, DriftlineError, InvalidInput, Late, Unavailable, from_json

JSON = "application/json"
NDJSON = "application/x-ndjson"
FINAL_JOB_STATES = frozenset({"succeeded", "failed", "cancelled"})
FINAL_RECEIPT_STATES = frozenset({"served", "rejected", "quarantined"})


class Prediction(TypedDict):
    """One row's answer. Classification has ``label`` and ``probabilities``, regression ``value``."""

    id: str
    label: NotRequired[int | str | None]
    probabilities: NotRequired[list[float]]
    value: NotRequired[float]


class Predictions(TypedDict):
    """The answer to predict; each row's ``probabilities`` follow ``classes``."""

    model: str
    version: int
    classes: NotRequired[list[int | str]]
    predictions: list[Prediction]


class Item(TypedDict):
    """A label for an earlier prediction (``prediction_id``), or one that brings its own ``inputs``."""

    label: Any
    prediction_id: NotRequired[str]
    inputs: NotRequired[Any]
    id: NotRequired[str]
    weight: NotRequired[float]
    source: NotRequired[str]
    time: NotRequired[float]
    route: NotRequired[Literal["import"]]


class ItemStatus(TypedDict):
    """What became of one item."""

    id: NotRequired[str]
    status: Literal["queued", "duplicate", "error"]
    error: NotRequired[dict[str, Any]]


class Accepted(TypedDict):
    """The acknowledgement of feedback. ``durability`` is what the Redis server says of itself."""

    accepted: int
    items: list[ItemStatus]
    durability: str


class Receipt(TypedDict):
    """How far an item has come."""

    id: NotRequired[str]
    state: Literal["queued", "learned", "served", "rejected", "quarantined"]
    version: NotRequired[int]
    reason: NotRequired[str]


class Answer(TypedDict):
    """What was served for an item. Classification has ``label`` and ``probabilities``, regression ``value``."""

    version: int
    label: NotRequired[int | str | None]
    probabilities: NotRequired[list[float]]
    value: NotRequired[float]


class LogItem(TypedDict):
    """A label as the log keeps it, under its number ``n``. ``answer`` is None where the item brought its own inputs."""

    n: int
    id: str
    inputs: Any
    label: int | str | float
    weight: float
    route: str
    time: float
    answer: Answer | None


class Job(TypedDict):
    """A retrain or a comparison. ``progress`` goes from 0 to 1."""

    id: NotRequired[str]
    state: Literal["queued", "running", "succeeded", "failed", "cancelled"]
    progress: NotRequired[float]
    promoted: NotRequired[bool]
    version: NotRequired[int]
    report: NotRequired[Any]


class Model(TypedDict):
    """A model as it stands now."""

    name: str
    version: int
    learned: int
    waiting: int
    state: str
    spec: dict[str, Any]


@dataclass(frozen=True)
class Call:
    """One HTTP request, and the key of its answer's body that holds the result, if it is only one."""

    method: str
    path: str
    content: bytes | None = None
    content_type: str = JSON
    files: dict[str, tuple[str | None, bytes, str]] | None = None
    result: str | None = None

    def request(self, client: httpx.Client | httpx.AsyncClient) -> httpx.Request:
        """The request as ``client`` sends it."""
        headers = {"content-type": self.content_type} if self.content is not None else None
        return client.build_request(self.method, self.path, content=self.content, files=self.files, headers=headers)

    def read(self, response: httpx.Response) -> Any:
        """The result of an answer; the error that it carries is raised."""
        check(response)
        if not response.content:
            return {}
        try:
            body = response.json()
        except ValueError:
            raise _not_driftline(response) from None
        return body if self.result is None else body[self.result]


def check(response: httpx.Response) -> None:
    """Raise the error that a read response carries."""
    if response.is_success:
        return
    try:
        error = response.json()["error"]
    except (ValueError, KeyError, TypeError):
        raise _not_driftline(response) from None
    body = error if isinstance(error, dict) else {"message": str(error)}
    raise from_json(response.status_code, body, _retry_after(response))


def _retry_after(response: httpx.Response) -> float | None:
    try:
        return float(response.headers["retry-after"])
    except (KeyError, ValueError):
        return None


def _not_driftline(response: httpx.Response) -> DriftlineError:
    message = (
        f"{response.request.url} answered {response.status_code} without a body of Driftline's; is it the right URL?"
    )
    return from_json(response.status_code, {"message": message, "code": "unexpected_answer"}, _retry_after(response))


def parse_url(text: str) -> httpx.URL:
    """The URL of a server; :class:`ConfigurationError` where ``text`` is none.

    >>> parse_url("http://127.0.0.1:8000").port
    8000
    >>> parse_url("127.0.0.1:8000")
    Traceback (most recent call last):
    driftline.errors.ConfigurationError: '127.0.0.1:8000' is not the URL of a server; give one like http://127.0.0.1:8000
    """
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL:
        url = httpx.URL()
    if url.scheme not in ("http", "https") or not url.host:
        raise ConfigurationError(f"{text!r} is not the URL of a server; give one like http://127.0.0.1:8000")
    return url


def transport_error(url: httpx.URL, error: httpx.TransportError) -> DriftlineError:
    """What a failure below HTTP means to the caller."""
    if isinstance(error, httpx.ReadTimeout | httpx.WriteTimeout | httpx.PoolTimeout):
        return Late(f"{url} did not answer in time")
    reason = str(error) or type(error).__name__
    return Unavailable(f"{url} cannot be reached: {reason}; is the server running?")


def _plain(value: Any) -> Any:
    """Arrays, tensors and their scalars as JSON takes them."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} cannot be sent")


def encode(value: Any) -> bytes:
    """``value`` as JSON; :class:`InvalidInput` where it holds what JSON has no number or type for.

    >>> encode({"inputs": [(1.0, 2)]})
    b'{"inputs":[[1.0,2]]}'
    """
    try:
        return json.dumps(value, default=_plain, allow_nan=False, separators=(",", ":")).encode()
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"this cannot be sent as JSON: {error}") from None


def _path(model: str, *rest: str) -> str:
    return "/v1/models/" + "/".join(quote(part, safe="") for part in (model, *rest))


def _post(path: str, body: Any) -> Call:
    return Call("POST", path, encode(body))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}", value=str(path)) from None


def create(spec: Mapping[str, Any], weights: bytes | Path | None) -> Call:
    """Make a model; ``weights`` are the bytes or the path of a safetensors file."""
    if weights is None:
        return _post("/v1/models", spec)
    if isinstance(weights, Path):
        weights = _read(weights)
    parts = {
        "spec": (None, encode(spec), JSON),
        "weights": ("weights.safetensors", weights, "application/octet-stream"),
    }
    return Call("POST", "/v1/models", files=parts)


def models() -> Call:
    """Every model."""
    return Call("GET", "/v1/models", result="models")


def show(model: str) -> Call:
    """One model."""
    return Call("GET", _path(model))


def delete(model: str) -> Call:
    """Remove a model and all it has learned."""
    return Call("DELETE", _path(model))


def predict(model: str, inputs: Any, version: int | None = None) -> Call:
    """Answers for rows: ``[rows, *shape]``, or such columns by input name; from the live version, or from a kept one.

    >>> predict("weather", [[0.5, 1.0]], version=3).path
    '/v1/models/weather/predict?version=3'
    """
    query = "" if version is None else f"?version={version}"
    return _post(_path(model, "predict") + query, {"inputs": inputs})


def feedback(model: str, items: Iterable[Item]) -> Call:
    """Labels for earlier predictions, or with inputs of their own."""
    return _post(_path(model, "feedback"), {"items": list(items)})


def feedback_stream(model: str, items: Iterable[Item]) -> Call:
    """The same as lines of JSON, answered line by line."""
    lines = b"".join(encode(item) + b"\n" for item in items)
    return Call("POST", _path(model, "feedback", "stream"), lines, NDJSON)


def receipt(model: str, identifier: str) -> Call:
    """How far an item has come."""
    return Call("GET", _path(model, "feedback", identifier))


def log(model: str, start: int, limit: int | None) -> Call:
    """The labels that the log keeps, from number ``start`` on, a line each."""
    most = "" if limit is None else f"&limit={limit}"
    return Call("GET", _path(model, "log") + f"?start={start}{most}")


def retrain(
    model: str,
    recipe: Mapping[str, Any] | None,
    edits: Iterable[Mapping[str, Any]] | None,
    race: Iterable[Mapping[str, Any]] | None,
    epochs: int | None,
    reason: str | None,
    is_dry_run: bool = False,
) -> Call:
    """Train again over the log, beside the model that goes on; or say what that would give."""
    body = {
        "recipe": recipe,
        "edits": None if edits is None else list(edits),
        "race": None if race is None else list(race),
        "epochs": epochs,
        "reason": reason,
        "dry_run": is_dry_run or None,
    }
    return _post(_path(model, "retrain"), {name: value for name, value in body.items() if value is not None})


def compare(model: str, first: int, second: int) -> Call:
    """Measure two kept versions side by side."""
    return _post(_path(model, "compare"), {"versions": [first, second]})


def job(identifier: str) -> Call:
    """A job's state."""
    return Call("GET", "/v1/jobs/" + quote(identifier, safe=""))


def cancel_job(identifier: str) -> Call:
    """End a job."""
    return Call("DELETE", "/v1/jobs/" + quote(identifier, safe=""))


def versions(model: str) -> Call:
    """The history of a model."""
    return Call("GET", _path(model, "versions"), result="versions")


def version(model: str, number: int) -> Call:
    """One kept version, with the report of the retrain that it came of."""
    return Call("GET", _path(model, "versions", str(number)))


def rollback(model: str, version: int) -> Call:
    """Publish an older version's weights as the next version."""
    return _post(_path(model, "rollback"), {"version": version})


def promote(model: str) -> Call:
    """Make what has been learned the live version, whatever the gate says."""
    return _post(_path(model, "promote"), {})


def pause(model: str) -> Call:
    """Stop learning; feedback waits in the log."""
    return _post(_path(model, "pause"), {})


def resume(model: str) -> Call:
    """Go on learning."""
    return _post(_path(model, "resume"), {})


def change_recipe(model: str, recipe: Mapping[str, Any]) -> Call:
    """Change the given fields of the recipe."""
    return Call("PATCH", _path(model, "recipe"), encode(recipe))


def metrics(model: str) -> Call:
    """How well it predicts, how far learning is behind, alarms."""
    return Call("GET", _path(model, "metrics"))


def decode_line(line: str) -> ItemStatus:
    """One line of the answer to a stream."""
    return cast(ItemStatus, json.loads(line))


def decode_item(line: str) -> LogItem:
    """One line of a log."""
    return cast(LogItem, json.loads(line))


def batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """``items`` in lists of at most ``size``."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def pauses(timeout: float) -> Iterator[float]:
    """How long to wait between two looks, until ``timeout`` seconds have passed."""
    deadline, pause = time.monotonic() + timeout, 0.05
    while (left := deadline - time.monotonic()) > 0:
        yield min(pause, left)
        pause = min(1.5 * pause, 0.5)
