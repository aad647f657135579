"""The faults, by what they break. Each function breaks something, and returns once it no longer does so itself."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from driftline.client.clients import Client
from driftline.errors import DriftlineError
from driftline.networks import bundle
from driftline.store.artifacts import Artifacts
from driftline.store.commits import Head, parse_head
from driftline.store.redis_keys import Keys
from tests.faults.parts import Meddling, replaced_by_a_file, stopped
from tests.faults.soak.processes import APPS, LEASE_SECONDS, WORKERS, Processes
from tests.waiting import SECONDS, until

T = TypeVar("T")
HEAL_SECONDS = SECONDS
FAILPOINT_SECONDS = 10.0
APP_POINTS = ("app.appended", "app.computed", "app.prepared")
WORKER_POINTS = (
    "trainer.learned",
    "trainer.published",
    "trainer.committed",
    "trainer.checkpointing",
    "trainer.checkpointed",
    "retention.retired",
)


@dataclass
class Ground:
    """What there is to break, for one fault: ``of`` is its target, and ``random`` its own."""

    processes: Processes
    models: dict[str, str]
    of: str
    random: random.Random

    @property
    def client(self) -> Client:
        return self.processes.clients[self.random.choice(APPS)]

    def head(self, model: str) -> Head:
        keys = Keys("driftline:").of(self.models[model])
        return parse_head(self.processes.redis.hgetall(keys.head))

    def seconds(self, most: float) -> float:
        return self.random.uniform(0.5, most)

    def any_model(self) -> str:
        return self.random.choice(list(self.models))

    def retry_until_available(self, call: Callable[[Client], T]) -> T:
        """What a call of an admin gives, once an app answers it."""
        deadline = time.monotonic() + HEAL_SECONDS
        while True:
            try:
                return call(self.client)
            except DriftlineError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.3)


def kill(ground: Ground) -> None:
    """kill -9."""
    replace(ground, signal.SIGKILL)


def terminate(ground: Ground) -> None:
    """SIGTERM."""
    replace(ground, signal.SIGTERM)


def replace(ground: Ground, number: signal.Signals) -> None:
    before = ground.processes.pid(ground.of)
    os.kill(before, number)
    until(lambda: ground.processes.pid(ground.of) != before, HEAL_SECONDS)


def stop(ground: Ground) -> None:
    """SIGSTOP for a moment; connections stand."""
    with stopped(ground.processes.pid(ground.of)):
        time.sleep(ground.seconds(4))


def outlast_lease(ground: Ground) -> None:
    """SIGSTOP past the lease, so that the other worker takes over what this one still believes to own."""
    with stopped(ground.processes.pid(ground.of)):
        time.sleep(LEASE_SECONDS + ground.seconds(3))


def die_at_a_point(ground: Ground) -> None:
    """A kill -9 at a named place of the next start; at any place where that one is not reached."""
    point = ground.random.choice(APP_POINTS if ground.of in APPS else WORKER_POINTS)
    marker = Path(tempfile.mkdtemp()) / "reached"
    ground.processes.armed[ground.of] = f"{point}:{ground.random.randint(1, 5)}@{marker}"
    kill(ground)
    armed = ground.processes.pid(ground.of)
    with contextlib.suppress(AssertionError):
        until(marker.exists, FAILPOINT_SECONDS)
    if not marker.exists():
        os.kill(armed, signal.SIGKILL)
    until(lambda: ground.processes.pid(ground.of) != armed, HEAL_SECONDS)


def cut(ground: Ground) -> None:
    """No connection to Valkey, and none can be made."""
    link = ground.processes.links[ground.of]
    link.cut()
    time.sleep(ground.seconds(5))
    link.heal()


def hang(ground: Ground) -> None:
    """Connections to Valkey stand and carry nothing."""
    link = ground.processes.links[ground.of]
    link.is_half_open = True
    time.sleep(ground.seconds(6))
    link.heal()


def delay(ground: Ground) -> None:
    """Valkey is 200 ms away."""
    link = ground.processes.links[ground.of]
    link.delay = 0.2
    time.sleep(ground.seconds(5))
    link.delay = 0.0


def meddle(ground: Ground) -> None:
    """Appends are cut in half, or arrive and their answers do not."""
    link = ground.processes.links[ground.of]
    link.on_request = fates = Meddling(*(ground.random.choice(("half", "deaf")) for _ in range(4)))
    with contextlib.suppress(AssertionError):
        until(lambda: fates.is_done, 10)
    link.on_request = lambda data: "pass"


def vanish(ground: Ground) -> None:
    """The folder of the artifacts is not there."""
    with replaced_by_a_file(ground.processes.data_dir / "artifacts"):
        time.sleep(ground.seconds(4))


def damage_a_version(ground: Ground) -> None:
    """A bit of the live version's files flips; ends when the next one is live."""
    model = ground.any_model()
    before = ground.head(model)
    flip_a_bit(ground, model, before.manifest)
    until(lambda: answered(lambda: ground.head(model).version > before.version), HEAL_SECONDS)


def damage_a_checkpoint(ground: Ground) -> None:
    """A bit of the newest checkpoint's files flips; ends when it is not one of the two from which recovery begins."""
    model = ground.any_model()
    place = ground.head(model).checkpoint
    if place is None:
        return
    flip_a_bit(ground, model, place.manifest)

    def is_superseded() -> bool:
        head = ground.head(model)
        return place.manifest not in [other.manifest for other in (head.checkpoint, head.older_checkpoint) if other]

    until(lambda: answered(is_superseded), HEAL_SECONDS)


def flip_a_bit(ground: Ground, model: str, manifest: str) -> None:
    artifacts = Artifacts(ground.processes.data_dir / "artifacts")
    uid = ground.models[model]
    file = ground.random.choice([*bundle.decode(artifacts.get(uid, manifest)).files.values()])
    path = artifacts.root / uid / file.sha256
    content = bytearray(path.read_bytes())
    content[ground.random.randrange(len(content))] ^= 1
    path.write_bytes(content)


def answered(look: Callable[[], bool]) -> bool:
    """Whether it is so; no while Valkey does not answer."""
    with contextlib.suppress(Exception):
        return look()
    return False


def retrain(ground: Ground) -> None:
    """A retrain beside the stream, until it has ended."""
    model = ground.any_model()
    job = ground.retry_until_available(lambda client: client.retrain(model, epochs=1, reason="soak"))
    found = until(lambda: ended(ground, job), HEAL_SECONDS)
    assert found["state"] == "succeeded", found


def ended(ground: Ground, job: str) -> Any:
    found = ground.retry_until_available(lambda client: client.job(job))
    return found if found["state"] in ("succeeded", "failed", "cancelled") else None


def roll_back(ground: Ground) -> None:
    """An older version's weights, published as the next version."""
    model = ground.any_model()
    kept = ground.retry_until_available(lambda client: client.versions(model))
    before = ground.retry_until_available(lambda client: client.model(model))["version"]
    number = ground.random.choice(kept)["version"]
    ground.retry_until_available(lambda client: client.rollback(model, number))
    until(lambda: ground.retry_until_available(lambda client: client.model(model))["version"] > before, HEAL_SECONDS)


def pause(ground: Ground) -> None:
    """Labels wait for a moment."""
    model = ground.any_model()
    ground.retry_until_available(lambda client: client.pause(model))
    time.sleep(ground.seconds(3))
    ground.retry_until_available(lambda client: client.resume(model))


Break = Callable[[Ground], None]
LINK: list[Break] = [cut, hang, delay]
FAULTS: dict[str, list[Break]] = {
    **{app: [kill, kill, terminate, stop, die_at_a_point, die_at_a_point, meddle, *LINK] for app in APPS},
    **{name: [kill, kill, terminate, outlast_lease, outlast_lease, die_at_a_point, *LINK] for name in WORKERS},
    "valkey": [kill, terminate, stop],
    "artifacts": [vanish, damage_a_version, damage_a_checkpoint],
    "models": [retrain, roll_back, pause],
}
"""What may happen to each target. At one time a target meets one fault, and at most two targets meet one each."""


def plan(seed: int) -> Iterator[list[tuple[str, Break, random.Random]]]:
    """Faults without end, those in one list at once: the same ones for the same seed."""
    source = random.Random(seed)
    while True:
        targets = source.sample(list(FAULTS), source.choice((1, 1, 2)))
        yield [(of, source.choice(FAULTS[of]), random.Random(source.random())) for of in targets]
