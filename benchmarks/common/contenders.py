"""The servers that are measured: Driftline and its peers, started, and checked to answer what torch answers."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import numpy as np
import safetensors.torch

from benchmarks.common.environments import Unavailable
from benchmarks.common.formats import Body, Format, inference_binary, json_rows
from benchmarks.common.load import HOST, request
from benchmarks.common.processes import free_port, last_words, pause, resume, running
from benchmarks.peers import PEERS, Peer
from benchmarks.peers.network import CLASSES, FEATURES, HIDDEN, Network, rows
from driftline import __version__
from driftline.client.clients import Client
from tests.services import up

START_SECONDS = 120.0
SETTLE_SECONDS = 5.0
TOLERANCE = 1e-4
CHECKED = (1, 32)
REFERENCE = "driftline"

SPEC = {
    "name": "digits",
    "task": "classification",
    "inputs": {"shape": [FEATURES]},
    "classes": list(range(CLASSES)),
    "network": {"layers": [{"type": "linear", "features": HIDDEN}, {"type": "relu"}]},
    # The network alone, as the others serve it.
    "recipe": {"strategy": "replay"},
}
LEARNED = 1000
"""Labels that fill the windows of a mixture."""
DRIFTLINE = {
    "JSON": json_rows("/v1/models/digits/predict", "predictions", "probabilities"),
    "binary": inference_binary("/v2/models/digits/infer"),
}


@dataclass(frozen=True)
class Started:
    """A started server: its port, its root process, and its last output if it has ended."""

    port: int
    process: int
    ended: Callable[[], str | None] = lambda: None


@dataclass(frozen=True)
class Contender:
    """A server that can be measured. ``start`` takes a folder of its own. One that has learned answers otherwise than torch."""

    label: str
    formats: Mapping[str, Format]
    start: Callable[[Path], AbstractContextManager[Started]]
    has_learned: bool = False


@dataclass
class Server:
    """A contender with correct answers, paused until its turn. ``refused``: formats that cannot be measured, and why."""

    started: Started
    formats: Mapping[str, Format]
    refused: dict[str, str]

    @property
    def port(self) -> int:
        return self.started.port

    def message(self, format: str, count: int) -> bytes:
        """The bytes that ask for ``count`` rows."""
        body = self.formats[format].encode(rows(count))
        return request(self.port, self.formats[format].path, body.content, body.headers)

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """Resumes it while it is measured."""
        resume(self.started.process)
        try:
            yield
        finally:
            pause(self.started.process)


def contenders(environments: Path) -> dict[str, Contender]:
    """All contenders by short name. ``environments`` is the folder of the peers' environments."""
    label = f"Driftline {__version__}"
    peers = {
        name: Contender(peer.label, peer.formats, partial(_peer, peer, environments)) for name, peer in PEERS.items()
    }
    return {
        REFERENCE: Contender(label, DRIFTLINE, partial(_driftline, "replay", "all")),
        "driftline-unrecorded": Contender(f"{label} unrecorded", DRIFTLINE, partial(_driftline, "replay", "none")),
        "driftline-experts": Contender(f"{label} experts", DRIFTLINE, partial(_driftline, "experts", "all"), True),
        **peers,
    }


@contextlib.contextmanager
def served(contender: Contender, folder: Path) -> Iterator[Server]:
    """Starts the contender; :class:`Unavailable` if it does not start, or answers something else than torch."""
    with contender.start(folder) as started:
        _await_answer(started, contender.formats["JSON"])
        time.sleep(SETTLE_SECONDS)
        if not contender.has_learned:
            _check(started, contender.formats["JSON"])
        server = Server(
            started, contender.formats, {} if contender.has_learned else _refused(started, contender.formats)
        )
        pause(started.process)
        try:
            yield server
        finally:
            resume(started.process)


@contextlib.contextmanager
def _driftline(strategy: str, record: str, folder: Path) -> Iterator[Started]:
    network = Network()
    weights = {
        "network.linear1.weight": network.hidden.weight,
        "network.linear1.bias": network.hidden.bias,
        "output.weight": network.output.weight,
        "output.bias": network.output.bias,
    }
    with up(folder, DRIFTLINE_RECORD=record) as instance:
        instance.client.create_model(SPEC | {"recipe": {"strategy": strategy}}, safetensors.torch.save(weights))
        if strategy != "replay":
            _teach(instance.client)
        yield Started(urlsplit(instance.url).port or 0, instance.process.pid)


def _teach(client: Client) -> None:
    """Lets the model learn, and waits until it has."""
    labels = np.random.default_rng(0).integers(CLASSES, size=LEARNED).tolist()
    pairs = zip(rows(LEARNED), labels, strict=True)
    client.feedback("digits", [{"inputs": row.tolist(), "label": label} for row, label in pairs])
    deadline = time.monotonic() + START_SECONDS
    while client.model("digits")["learned"] < LEARNED:
        if time.monotonic() > deadline:
            raise Unavailable(f"has not learned {LEARNED} labels within {START_SECONDS:g} s")
        time.sleep(0.2)


@contextlib.contextmanager
def _peer(peer: Peer, environments: Path, folder: Path) -> Iterator[Started]:
    port = free_port()
    with running(peer.command(port, environments), folder, peer.environment(folder)) as process:
        yield Started(port, process.pid, lambda: last_words(folder) if process.poll() is not None else None)


def _await_answer(started: Started, format: Format) -> None:
    deadline = time.monotonic() + START_SECONDS
    status = None
    while status != 200:
        if (words := started.ended()) is not None:
            raise Unavailable(f"does not start: {words}")
        if time.monotonic() > deadline:
            raise Unavailable(f"no answer within {START_SECONDS:g} s, last status {status}")
        with contextlib.suppress(httpx.TransportError):
            status = _ask(started, format, 1).status_code
        time.sleep(0.1)


def _refused(started: Started, formats: Mapping[str, Format]) -> dict[str, str]:
    """The formats besides JSON that cannot be measured, and why."""
    if "binary" not in formats:
        return {"binary": "not supported: it has no such format"}
    status = _ask(started, formats["binary"], 1).status_code
    if status != 200:
        return {"binary": f"not supported: status {status}"}
    try:
        _check(started, formats["binary"])
    except Unavailable as reason:
        return {"binary": str(reason)}
    return {}


def _check(started: Started, format: Format) -> None:
    """:class:`Unavailable` where an answer is not torch's own."""
    for count in CHECKED:
        response = _ask(started, format, count)
        if response.status_code != 200:
            raise Unavailable(f"answers with status {response.status_code}")
        if format.decode is None:
            continue
        try:
            answer = format.decode(Body(response.content, response.headers))
        except (LookupError, TypeError, ValueError) as error:
            raise Unavailable(f"answers something unreadable: {error!r}") from None
        expected = Network().probabilities(rows(count))
        if answer.shape != expected.shape or not np.allclose(answer, expected, rtol=0, atol=TOLERANCE):
            raise Unavailable("answers something else than torch")


def _ask(started: Started, format: Format, count: int) -> httpx.Response:
    body = format.encode(rows(count))
    url = f"http://{HOST}:{started.port}{format.path}"
    return httpx.post(url, content=body.content, headers=body.headers, timeout=30, trust_env=False)
