"""What can be asked of a server: every call once, for both clients."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from driftline.api import endpoints
from driftline.client.event_calls import EventCalls
from driftline.client.feedback import (
    FeedbackCall,
    FeedbackStreamCall,
    encode_item,
    encode_items,
    items_body,
    items_of,
)
from driftline.client.forget_calls import ForgetCalls
from driftline.client.history_calls import HistoryCalls
from driftline.client.inputs import as_column, encode_inputs, to_json
from driftline.client.labeller_calls import LabellerCalls
from driftline.client.methods import CallMethod, StreamMethod
from driftline.client.requests import Call, Probe, Wait, batches, call, create_call, encode, given
from driftline.client.source_calls import SourceCalls

if TYPE_CHECKING:
    from driftline.api.control import CommandQueued, JobState, RetrainPreview
    from driftline.api.feedback import Accepted, FeedbackItem, LineStatus, LogItem, Receipt
    from driftline.api.health import WorkerState
    from driftline.api.keys import ApiKey
    from driftline.api.metrics import ModelMetricsAnswer
    from driftline.api.models import AdapterFiles, Deleted, ModelState, VersionDetails, VersionState
    from driftline.api.predictions import Predictions
    from driftline.api.scopes import Scope

FINAL_JOB_STATES = frozenset({"succeeded", "failed", "cancelled"})
FINAL_RECEIPT_STATES = frozenset({"served", "rejected", "quarantined", "revised", "forgotten"})
# Answers to a stream come while it is sent, and are read after that: so many fit any socket's buffers.
MAX_STREAM_BATCH = 500


class Calls(EventCalls, ForgetCalls, HistoryCalls, LabellerCalls, SourceCalls):
    """The calls. ``AsyncClient`` awaits them, ``Client`` does not."""

    @CallMethod
    def live(self) -> Call[bool]:
        """Whether the server's process answers."""
        return Probe(endpoints.LIVEZ, {})

    @CallMethod
    def ready(self) -> Call[bool]:
        """Whether the server can serve."""
        return Probe(endpoints.READYZ, {})

    @CallMethod
    def keys(self) -> Call[list[ApiKey]]:
        """Every API key, without its secret."""
        return call(endpoints.LIST_KEYS).then(lambda answer: answer["keys"])

    @CallMethod
    def make_key(
        self,
        scopes: Sequence[Scope],
        name: str = "",
        models: Sequence[str] = (),
        expires: float | None = None,
        owner: str = "",
    ) -> Call[str]:
        """Make an API key, told this once. ``models`` are names or patterns; ``expires`` is in seconds since 1970. Keys of one
        ``owner`` share predictions and labels."""
        about = {"owner": owner} if owner else {}
        wanted = {"scopes": list(scopes), "name": name, "models": list(models), "expires": expires, **about}
        return call(endpoints.MAKE_KEY, content=encode(wanted)).then(lambda answer: answer["key"])

    @CallMethod
    def rotate_key(self, identifier: str, grace_seconds: float = 0.0) -> Call[str]:
        """Give an API key a new secret, told this once; the former one works for ``grace_seconds`` more."""
        made = call(endpoints.ROTATE_KEY, content=encode({"grace_seconds": grace_seconds}), key=identifier)
        return made.then(lambda answer: answer["key"])

    @CallMethod
    def revoke_key(self, identifier: str) -> Call[ApiKey]:
        """Let an API key work no longer; the part of it before the dot names it."""
        return call(endpoints.REVOKE_KEY, key=identifier)

    @CallMethod
    def create_model(
        self, spec: Mapping[str, Any], weights: bytes | Path | None = None, example: Any = None
    ) -> Call[ModelState]:
        """Make a model from its spec, with pretrained weights (safetensors) if given; a network of your own is tried out on
        the rows of ``example``."""
        return create_call(endpoints.CREATE_MODEL, spec, weights, example)

    @CallMethod
    def models(self) -> Call[list[ModelState]]:
        """Every model."""
        return call(endpoints.LIST_MODELS).then(lambda answer: answer["models"])

    @CallMethod
    def model(self, model: str) -> Call[ModelState]:
        """One model as it stands now."""
        return call(endpoints.SHOW_MODEL, model=model)

    @CallMethod
    def delete_model(self, model: str) -> Call[Deleted]:
        """Remove a model and all it has learned."""
        return call(endpoints.DELETE_MODEL, model=model)

    @CallMethod
    def predict(self, model: str, inputs: Any, version: int | None = None, *, keys: Any = None) -> Call[Predictions]:
        """Answers for rows: ``[rows, *shape]``, a dictionary a row, columns by name, or a data frame; ``version``: from a
        kept version; ``keys``: your own name of each row, to which its label can refer."""
        content = b'{"inputs":' + encode_inputs(inputs)
        content += b"}" if keys is None else b',"keys":' + to_json(as_column(keys, "keys"), "keys") + b"}"
        return call(endpoints.PREDICT, content=content, query={"version": version}, is_safe=True, model=model)

    @CallMethod
    def feedback(
        self,
        model: str,
        items: Iterable[FeedbackItem | Mapping[str, Any]] | None = None,
        *,
        inputs: Any = None,
        labels: Any = None,
        prediction_ids: Any = None,
        keys: Any = None,
        ids: Any = None,
        weights: Any = None,
        times: Any = None,
        raise_errors: bool = True,
    ) -> Call[Accepted]:
        """Hand in labels: ``items``, or a data frame of these; or columns: rows, prediction ids or keys, and their labels.

        :class:`FeedbackRefused` tells of items that were refused; with ``raise_errors=False`` their status does.
        """
        if items is None:
            columns = {"prediction_id": prediction_ids, "key": keys, "id": ids, "weight": weights, "time": times}
            items = items_of(inputs=inputs, label=labels, **columns)
        encoded = encode_items(items)
        return FeedbackCall(
            endpoints.GIVE_FEEDBACK,
            {"model": model},
            content=items_body(encoded),
            is_safe=True,
            items=encoded,
            raise_errors=raise_errors,
        )

    @StreamMethod
    def feedback_stream(
        self, model: str, items: Iterable[FeedbackItem | Mapping[str, Any]], *, raise_errors: bool = True
    ) -> Iterator[Call[LineStatus]]:
        """Hand in any number of labels, in requests of a few hundred; gives what became of each, in order.

        :class:`FeedbackRefused` tells of the first that was refused; with ``raise_errors=False`` its status does.
        """
        for number, batch in enumerate(batches(items, MAX_STREAM_BATCH)):
            first = number * MAX_STREAM_BATCH
            encoded = [encode_item(item, f"items[{first + index}]") for index, item in enumerate(batch)]
            yield FeedbackStreamCall(
                endpoints.STREAM_FEEDBACK,
                {"model": model},
                content=b"".join(item.json + b"\n" for item in encoded),
                is_safe=True,
                items=encoded,
                first=first,
                raise_errors=raise_errors,
            )

    @CallMethod
    def receipt(self, model: str, identifier: str) -> Call[Receipt]:
        """How far an item has come."""
        return call(endpoints.SHOW_RECEIPT, model=model, id=identifier)

    @StreamMethod
    def log(self, model: str, start: int = 1, limit: int | None = None) -> Iterator[Call[LogItem]]:
        """The labels that a model's log keeps, in its order, from number ``start`` on; ``limit`` at most."""
        yield call(endpoints.SHOW_LOG, query={"start": start, "limit": limit}, is_safe=False, model=model)

    @CallMethod
    def retrain(
        self,
        model: str,
        *,
        recipe: Mapping[str, Any] | None = None,
        edits: Iterable[Mapping[str, Any]] | None = None,
        race: Iterable[Mapping[str, Any]] | None = None,
        epochs: int | None = None,
        reason: str | None = None,
    ) -> Call[str]:
        """Train again over the log, beside the model that goes on; gives the job's id. The best of a ``race`` goes on."""
        body = _plan(recipe, edits, race) | given(epochs=epochs, reason=reason)
        return call(endpoints.RETRAIN, content=encode(body), model=model).then(lambda answer: answer["job_id"])

    @CallMethod
    def retrain_dry_run(
        self,
        model: str,
        *,
        recipe: Mapping[str, Any] | None = None,
        edits: Iterable[Mapping[str, Any]] | None = None,
        race: Iterable[Mapping[str, Any]] | None = None,
        epochs: int | None = None,
    ) -> Call[RetrainPreview]:
        """What a retrain would give and cost, before and after; nothing is begun."""
        body = _plan(recipe, edits, race) | given(epochs=epochs, dry_run=True)
        return Call(endpoints.RETRAIN, {"model": model}, content=encode(body), is_safe=True)

    @CallMethod
    def compare(self, model: str, first: int, second: int, reason: str | None = None) -> Call[str]:
        """Measure two kept versions side by side; gives the job's id. The differences are the second's less the first's."""
        body = encode({"versions": [first, second]} | given(reason=reason))
        return call(endpoints.COMPARE, content=body, model=model).then(lambda answer: answer["job_id"])

    @CallMethod
    def job(self, identifier: str) -> Call[JobState]:
        """A job's state."""
        return call(endpoints.SHOW_JOB, job=identifier)

    @CallMethod
    def cancel_job(self, identifier: str) -> Call[CommandQueued]:
        """End a job."""
        return call(endpoints.CANCEL_JOB, job=identifier)

    @CallMethod
    def versions(self, model: str) -> Call[list[VersionState]]:
        """The history of a model."""
        return call(endpoints.LIST_VERSIONS, model=model).then(lambda answer: answer["versions"])

    @CallMethod
    def version(self, model: str, number: int) -> Call[VersionDetails]:
        """One kept version, with the report of the retrain that it came of."""
        return call(endpoints.SHOW_VERSION, model=model, version=str(number))

    @CallMethod
    def adapter(self, model: str, version: int) -> Call[AdapterFiles]:
        """The adapters of a version in PEFT's format: what ``adapter_config.json`` holds, and ``adapter_model.safetensors``
        in base64."""
        return call(endpoints.EXPORT_ADAPTER, model=model, version=str(version))

    @CallMethod
    def rollback(self, model: str, version: int, reason: str | None = None) -> Call[CommandQueued]:
        """Publish an older version's weights as the next version."""
        return call(endpoints.ROLL_BACK, content=encode({"version": version} | given(reason=reason)), model=model)

    @CallMethod
    def promote(self, model: str, reason: str | None = None) -> Call[CommandQueued]:
        """Make what has been learned the live version, whatever the gate says."""
        return call(endpoints.PROMOTE, content=encode(given(reason=reason)), model=model)

    @CallMethod
    def pause(self, model: str, reason: str | None = None) -> Call[CommandQueued]:
        """Stop learning; feedback waits in the log."""
        return call(endpoints.PAUSE, content=encode(given(reason=reason)), model=model)

    @CallMethod
    def resume(self, model: str, reason: str | None = None) -> Call[CommandQueued]:
        """Go on learning."""
        return call(endpoints.RESUME, content=encode(given(reason=reason)), model=model)

    @CallMethod
    def change_recipe(self, model: str, recipe: Mapping[str, Any], reason: str | None = None) -> Call[CommandQueued]:
        """Change the given fields of the recipe."""
        return call(endpoints.CHANGE_RECIPE, content=encode(recipe), query={"reason": reason}, model=model)

    @CallMethod
    def metrics(self, model: str) -> Call[ModelMetricsAnswer]:
        """How well it predicts, how far learning is behind, alarms."""
        return call(endpoints.SHOW_METRICS, model=model)

    @CallMethod
    def workers(self) -> Call[list[WorkerState]]:
        """Every worker: the models that it owns, its load, and whether it hangs."""
        return call(endpoints.LIST_WORKERS).then(lambda answer: answer["workers"])

    @CallMethod
    def wait_for_job(self, identifier: str, timeout: float = 600.0) -> Wait[JobState]:
        """The job once it has succeeded, failed or been cancelled; :class:`Late` after ``timeout`` seconds."""
        asked = call(endpoints.SHOW_JOB, job=identifier)
        return Wait(asked, lambda job: job["state"], FINAL_JOB_STATES, f"job {identifier}", timeout)

    @CallMethod
    def wait_served(self, model: str, identifier: str, timeout: float = 60.0) -> Wait[Receipt]:
        """The receipt once the item is served, rejected or quarantined; :class:`Late` after ``timeout`` seconds."""
        asked, what = call(endpoints.SHOW_RECEIPT, model=model, id=identifier), f"item {identifier} of {model}"
        return Wait(asked, lambda receipt: receipt["state"], FINAL_RECEIPT_STATES, what, timeout)


def _plan(
    recipe: Mapping[str, Any] | None,
    edits: Iterable[Mapping[str, Any]] | None,
    race: Iterable[Mapping[str, Any]] | None,
) -> dict[str, Any]:
    """What a retrain is to try."""
    return given(recipe=recipe, edits=None if edits is None else list(edits), race=None if race is None else list(race))
