"""The Python client. :class:`Client` and :class:`AsyncClient` differ in how they send, in nothing else."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import httpx

from driftline.client import requests
from driftline.client.requests import Accepted, Call, Item, ItemStatus, Job, LogItem, Model, Predictions, Receipt
from driftline.errors import ConfigurationError, Late

__all__ = ["AsyncClient", "Client"]

DEFAULT_URL = "http://127.0.0.1:8000"
# Answers to a stream come while it is sent, and are read after that: so many fit any socket's buffers.
STREAM_BATCH = 500


def _options(url: str | None, key: str | None, timeout: float) -> dict[str, Any]:
    key = (key or os.environ.get("DRIFTLINE_KEY", "")).strip()
    if not key.isascii():
        raise ConfigurationError("the API key holds characters that no key has; give it as it was printed: id.secret")
    return {
        "base_url": requests.parse_url(url or os.environ.get("DRIFTLINE_URL") or DEFAULT_URL),
        "headers": {"authorization": f"Bearer {key}"} if key else {},
        "timeout": timeout,
        "limits": httpx.Limits(max_connections=None, max_keepalive_connections=100),
        "mounts": dict.fromkeys(("all://localhost", "all://127.0.0.1", "all://[::1]")),  # never through a proxy
    }


def _late(what: str, timeout: float, state: str) -> Late:
    return Late(f"{what} is still {state} after {timeout:g} s")


class Client:
    """Talks to a Driftline server; errors of :mod:`driftline.errors` are raised as the server raised them.

    ``url`` and ``key`` default to ``DRIFTLINE_URL`` and ``DRIFTLINE_KEY``; ``timeout`` is in seconds. Inputs may be
    lists, numpy arrays or tensors.

    ::

        with Client() as client:
            answer = client.predict("weather", [[0.1] * 8])
            client.feedback("weather", [{"prediction_id": answer["predictions"][0]["id"], "label": 1}])
    """

    def __init__(self, url: str | None = None, *, key: str | None = None, timeout: float = 30.0) -> None:
        self._http = httpx.Client(**_options(url, key, timeout))

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _send(self, call: Call) -> Any:
        request = call.request(self._http)
        try:
            return call.read(self._http.send(request))
        except httpx.TransportError as error:
            raise requests.transport_error(self._http.base_url, error) from error

    def _stream(self, call: Call) -> Iterator[str]:
        request = call.request(self._http)
        try:
            response = self._http.send(request, stream=True)
            try:
                if not response.is_success:
                    response.read()
                    requests.check(response)
                yield from response.iter_lines()
            finally:
                response.close()
        except httpx.TransportError as error:
            raise requests.transport_error(self._http.base_url, error) from error

    def _answers(self, path: str) -> bool:
        try:
            return self._http.get(path).is_success
        except httpx.TransportError:
            return False

    def live(self) -> bool:
        """Whether the server's process answers."""
        return self._answers("/livez")

    def ready(self) -> bool:
        """Whether the server can serve."""
        return self._answers("/readyz")

    def create_model(self, spec: Mapping[str, Any], weights: bytes | Path | None = None) -> Model:
        """Make a model from its spec, with pretrained weights (safetensors) if given."""
        return cast(Model, self._send(requests.create(spec, weights)))

    def models(self) -> list[Model]:
        """Every model."""
        return cast(list[Model], self._send(requests.models()))

    def model(self, model: str) -> Model:
        """One model as it stands now."""
        return cast(Model, self._send(requests.show(model)))

    def delete_model(self, model: str) -> dict[str, Any]:
        """Remove a model and all it has learned."""
        return cast(dict[str, Any], self._send(requests.delete(model)))

    def predict(self, model: str, inputs: Any, version: int | None = None) -> Predictions:
        """Answers for ``inputs`` ``[rows, *shape]``, or such columns by input name; ``version``: from a kept version."""
        return cast(Predictions, self._send(requests.predict(model, inputs, version)))

    def feedback(self, model: str, items: Iterable[Item]) -> Accepted:
        """Hand in labels. With an ``id`` or a ``prediction_id`` in each item it is safe to send the same again."""
        return cast(Accepted, self._send(requests.feedback(model, items)))

    def feedback_stream(self, model: str, items: Iterable[Item]) -> Iterator[ItemStatus]:
        """Hand in any number of labels, in requests of a few hundred; gives what became of each, in order."""
        for batch in requests.batches(items, STREAM_BATCH):
            for line in self._stream(requests.feedback_stream(model, batch)):
                if line:
                    yield requests.decode_line(line)

    def receipt(self, model: str, identifier: str) -> Receipt:
        """How far an item has come."""
        return cast(Receipt, self._send(requests.receipt(model, identifier)))

    def log(self, model: str, start: int = 1, limit: int | None = None) -> Iterator[LogItem]:
        """The labels that a model's log keeps, in its order, from number ``start`` on; ``limit`` at most."""
        for line in self._stream(requests.log(model, start, limit)):
            if line:
                yield requests.decode_item(line)

    def retrain(
        self,
        model: str,
        *,
        recipe: Mapping[str, Any] | None = None,
        edits: Iterable[Mapping[str, Any]] | None = None,
        race: Iterable[Mapping[str, Any]] | None = None,
        epochs: int | None = None,
        reason: str | None = None,
    ) -> str:
        """Train again over the log, beside the model that goes on; gives the job's id. The best of a ``race`` goes on."""
        return cast(str, self._send(requests.retrain(model, recipe, edits, race, epochs, reason))["job_id"])

    def retrain_dry_run(
        self,
        model: str,
        *,
        recipe: Mapping[str, Any] | None = None,
        edits: Iterable[Mapping[str, Any]] | None = None,
        race: Iterable[Mapping[str, Any]] | None = None,
        epochs: int | None = None,
    ) -> dict[str, Any]:
        """What a retrain would give and cost, before and after; nothing is begun."""
        return cast(
            dict[str, Any], self._send(requests.retrain(model, recipe, edits, race, epochs, None, is_dry_run=True))
        )

    def compare(self, model: str, first: int, second: int) -> str:
        """Measure two kept versions side by side; gives the job's id. The differences are the second's less the first's."""
        return cast(str, self._send(requests.compare(model, first, second))["job_id"])

    def job(self, identifier: str) -> Job:
        """A job's state."""
        return cast(Job, self._send(requests.job(identifier)))

    def cancel_job(self, identifier: str) -> dict[str, Any]:
        """End a job."""
        return cast(dict[str, Any], self._send(requests.cancel_job(identifier)))

    def versions(self, model: str) -> list[dict[str, Any]]:
        """The history of a model."""
        return cast(list[dict[str, Any]], self._send(requests.versions(model)))

    def version(self, model: str, number: int) -> dict[str, Any]:
        """One kept version, with the report of the retrain that it came of."""
        return cast(dict[str, Any], self._send(requests.version(model, number)))

    def rollback(self, model: str, version: int) -> dict[str, Any]:
        """Publish an older version's weights as the next version."""
        return cast(dict[str, Any], self._send(requests.rollback(model, version)))

    def promote(self, model: str) -> dict[str, Any]:
        """Make what has been learned the live version, whatever the gate says."""
        return cast(dict[str, Any], self._send(requests.promote(model)))

    def pause(self, model: str) -> dict[str, Any]:
        """Stop learning; feedback waits in the log."""
        return cast(dict[str, Any], self._send(requests.pause(model)))

    def resume(self, model: str) -> dict[str, Any]:
        """Go on learning."""
        return cast(dict[str, Any], self._send(requests.resume(model)))

    def change_recipe(self, model: str, recipe: Mapping[str, Any]) -> dict[str, Any]:
        """Change the given fields of the recipe."""
        return cast(dict[str, Any], self._send(requests.change_recipe(model, recipe)))

    def metrics(self, model: str) -> dict[str, Any]:
        """How well it predicts, how far learning is behind, alarms."""
        return cast(dict[str, Any], self._send(requests.metrics(model)))

    def wait_for_job(self, identifier: str, timeout: float = 600.0) -> Job:
        """The job once it has succeeded, failed or been cancelled; :class:`Late` after ``timeout`` seconds."""
        state = "unknown"
        for pause in requests.pauses(timeout):
            job = self.job(identifier)
            state = job["state"]
            if state in requests.FINAL_JOB_STATES:
                return job
            time.sleep(pause)
        raise _late(f"job {identifier}", timeout, state)

    def wait_served(self, model: str, identifier: str, timeout: float = 60.0) -> Receipt:
        """The receipt once the item is served, rejected or quarantined; :class:`Late` after ``timeout`` seconds."""
        state = "unknown"
        for pause in requests.pauses(timeout):
            receipt = self.receipt(model, identifier)
            state = receipt["state"]
            if state in requests.FINAL_RECEIPT_STATES:
                return receipt
            time.sleep(pause)
        raise _late(f"item {identifier} of {model}", timeout, state)


class AsyncClient:
    """:class:`Client` for asyncio: the same calls, awaited."""

    def __init__(self, url: str | None = None, *, key: str | None = None, timeout: float = 30.0) -> None:
        self._http = httpx.AsyncClient(**_options(url, key, timeout))

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def _send(self, call: Call) -> Any:
        request = call.request(self._http)
        try:
            return call.read(await self._http.send(request))
        except httpx.TransportError as error:
            raise requests.transport_error(self._http.base_url, error) from error

    async def _stream(self, call: Call) -> AsyncIterator[str]:
        request = call.request(self._http)
        try:
            response = await self._http.send(request, stream=True)
            try:
                if not response.is_success:
                    await response.aread()
                    requests.check(response)
                async for line in response.aiter_lines():
                    yield line
            finally:
                await response.aclose()
        except httpx.TransportError as error:
            raise requests.transport_error(self._http.base_url, error) from error

    async def _answers(self, path: str) -> bool:
        try:
            return (await self._http.get(path)).is_success
        except httpx.TransportError:
            return False

    async def live(self) -> bool:
        """Whether the server's process answers."""
        return await self._answers("/livez")

    async def ready(self) -> bool:
        """Whether the server can serve."""
        return await self._answers("/readyz")

    async def create_model(self, spec: Mapping[str, Any], weights: bytes | Path | None = None) -> Model:
        """Make a model from its spec, with pretrained weights (safetensors) if given."""
        return cast(Model, await self._send(requests.create(spec, weights)))

    async def models(self) -> list[Model]:
        """Every model."""
        return cast(list[Model], await self._send(requests.models()))

    async def model(self, model: str) -> Model:
        """One model as it stands now."""
        return cast(Model, await self._send(requests.show(model)))

    async def delete_model(self, model: str) -> dict[str, Any]:
        """Remove a model and all it has learned."""
        return cast(dict[str, Any], await self._send(requests.delete(model)))

    async def predict(self, model: str, inputs: Any, version: int | None = None) -> Predictions:
        """Answers for ``inputs`` ``[rows, *shape]``, or such columns by input name; ``version``: from a kept version."""
        return cast(Predictions, await self._send(requests.predict(model, inputs, version)))

    async def feedback(self, model: str, items: Iterable[Item]) -> Accepted:
        """Hand in labels. With an ``id`` or a ``prediction_id`` in each item it is safe to send the same again."""
        return cast(Accepted, await self._send(requests.feedback(model, items)))

    async def feedback_stream(self, model: str, items: Iterable[Item]) -> AsyncIterator[ItemStatus]:
        """Hand in any number of labels, in requests of a few hundred; gives what became of each, in order."""
        for batch in requests.batches(items, STREAM_BATCH):
            async for line in self._stream(requests.feedback_stream(model, batch)):
                if line:
                    yield requests.decode_line(line)

    async def receipt(self, model: str, identifier: str) -> Receipt:
        """How far an item has come."""
        return cast(Receipt, await self._send(requests.receipt(model, identifier)))

    async def log(self, model: str, start: int = 1, limit: int | None = None) -> AsyncIterator[LogItem]:
        """The labels that a model's log keeps, in its order, from number ``start`` on; ``limit`` at most."""
        async for line in self._stream(requests.log(model, start, limit)):
            if line:
                yield requests.decode_item(line)

    async def retrain(
        self,
        model: str,
        *,
        recipe: Mapping[str, Any] | None = None,
        edits: Iterable[Mapping[str, Any]] | None = None,
        race: Iterable[Mapping[str, Any]] | None = None,
        epochs: int | None = None,
        reason: str | None = None,
    ) -> str:
        """Train again over the log, beside the model that goes on; gives the job's id. The best of a ``race`` goes on."""
        return cast(str, (await self._send(requests.retrain(model, recipe, edits, race, epochs, reason)))["job_id"])

    async def retrain_dry_run(
        self,
        model: str,
        *,
        recipe: Mapping[str, Any] | None = None,
        edits: Iterable[Mapping[str, Any]] | None = None,
        race: Iterable[Mapping[str, Any]] | None = None,
        epochs: int | None = None,
    ) -> dict[str, Any]:
        """What a retrain would give and cost, before and after; nothing is begun."""
        return cast(
            dict[str, Any],
            await self._send(requests.retrain(model, recipe, edits, race, epochs, None, is_dry_run=True)),
        )

    async def compare(self, model: str, first: int, second: int) -> str:
        """Measure two kept versions side by side; gives the job's id. The differences are the second's less the first's."""
        return cast(str, (await self._send(requests.compare(model, first, second)))["job_id"])

    async def job(self, identifier: str) -> Job:
        """A job's state."""
        return cast(Job, await self._send(requests.job(identifier)))

    async def cancel_job(self, identifier: str) -> dict[str, Any]:
        """End a job."""
        return cast(dict[str, Any], await self._send(requests.cancel_job(identifier)))

    async def versions(self, model: str) -> list[dict[str, Any]]:
        """The history of a model."""
        return cast(list[dict[str, Any]], await self._send(requests.versions(model)))

    async def version(self, model: str, number: int) -> dict[str, Any]:
        """One kept version, with the report of the retrain that it came of."""
        return cast(dict[str, Any], await self._send(requests.version(model, number)))

    async def rollback(self, model: str, version: int) -> dict[str, Any]:
        """Publish an older version's weights as the next version."""
        return cast(dict[str, Any], await self._send(requests.rollback(model, version)))

    async def promote(self, model: str) -> dict[str, Any]:
        """Make what has been learned the live version, whatever the gate says."""
        return cast(dict[str, Any], await self._send(requests.promote(model)))

    async def pause(self, model: str) -> dict[str, Any]:
        """Stop learning; feedback waits in the log."""
        return cast(dict[str, Any], await self._send(requests.pause(model)))

    async def resume(self, model: str) -> dict[str, Any]:
        """Go on learning."""
        return cast(dict[str, Any], await self._send(requests.resume(model)))

    async def change_recipe(self, model: str, recipe: Mapping[str, Any]) -> dict[str, Any]:
        """Change the given fields of the recipe."""
        return cast(dict[str, Any], await self._send(requests.change_recipe(model, recipe)))

    async def metrics(self, model: str) -> dict[str, Any]:
        """How well it predicts, how far learning is behind, alarms."""
        return cast(dict[str, Any], await self._send(requests.metrics(model)))

    async def wait_for_job(self, identifier: str, timeout: float = 600.0) -> Job:
        """The job once it has succeeded, failed or been cancelled; :class:`Late` after ``timeout`` seconds."""
        state = "unknown"
        for pause in requests.pauses(timeout):
            job = await self.job(identifier)
            state = job["state"]
            if state in requests.FINAL_JOB_STATES:
                return job
            await asyncio.sleep(pause)
        raise _late(f"job {identifier}", timeout, state)

    async def wait_served(self, model: str, identifier: str, timeout: float = 60.0) -> Receipt:
        """The receipt once the item is served, rejected or quarantined; :class:`Late` after ``timeout`` seconds."""
        state = "unknown"
        for pause in requests.pauses(timeout):
            receipt = await self.receipt(model, identifier)
            state = receipt["state"]
            if state in requests.FINAL_RECEIPT_STATES:
                return receipt
            await asyncio.sleep(pause)
        raise _late(f"item {identifier} of {model}", timeout, state)
