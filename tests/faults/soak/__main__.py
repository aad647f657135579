"""Breaks two apps, two workers and their Valkey at random, under load, and has what was seen checked.

python -m tests.faults.soak [--seconds 3600] [--seed N] [--folder DIR]

The folder keeps the event log, what the processes said, and the store; ``python -m tests.faults.soak.check DIR`` checks
them again. The same seed plans the same faults; when exactly they meet the processes is up to the machine.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from redis.exceptions import RedisError

from driftline.store.redis_keys import Keys
from tests.faults.soak import breakage, check
from tests.faults.soak.archive import Archivist
from tests.faults.soak.breakage import Break, Ground
from tests.faults.soak.events import Began, CaughtUp, Ended, EventLog, Fault, Over, Received, Stuck
from tests.faults.soak.load import NAMES, SPECS, Asker, Feeder, truth
from tests.faults.soak.processes import APPS, CHECKPOINT_SECONDS, ORPHAN_SECONDS, SWEEP_SECONDS, Processes
from tests.waiting import SECONDS, until

HEAL_SECONDS = SECONDS
CALM_SECONDS = 1.5
RECEIPTS_AT_ONCE = 8
LAST_ROUNDS = 2


class Soak:
    """One run over running processes."""

    def __init__(self, processes: Processes, seed: int, events: EventLog) -> None:
        self.processes = processes
        self.seed = seed
        self.events = events
        self.faults = 0
        client = processes.clients[APPS[0]]
        for spec in SPECS:
            client.create_model(spec)
        names = Keys("driftline:").names
        self.models = {name: processes.redis.hget(names, name).decode() for name in NAMES}
        events.write(Began(seed, self.models))
        self.archivist = Archivist(lambda: processes.redis, self.models, events)
        self.askers = [Asker(app, processes.clients[app], seed + n, events) for n, app in enumerate(APPS)]
        self.feeders = [Feeder(f"f{n}", processes.clients, self.askers, seed + n, events) for n, _ in enumerate(APPS)]

    def run(self, seconds: float) -> None:
        """Breaks things for so long, lets everything come to rest, and asks for every receipt."""
        until(lambda: all(self.predicts(app) for app in APPS))
        callers = [self.archivist, *self.askers, *self.feeders]
        for caller in callers:
            caller.start()
        try:
            self._break_things(time.monotonic() + seconds)
        finally:
            for caller in [*self.feeders, *self.askers]:
                caller.end()
            try:
                self._come_to_rest()
            except Exception as error:  # The checker then says what has not come to rest.
                self.events.write(Stuck(0, time.monotonic(), repr(error)))
            self.archivist.end()
        self.archivist.catch_up()
        self._ask_for_receipts()
        self.events.write(Ended(time.monotonic()))

    def predicts(self, app: str) -> bool:
        return all(self.processes.predicts(app, model) for model in NAMES)

    def _break_things(self, end: float) -> None:
        pauses = random.Random(self.seed)
        for group in breakage.plan(self.seed):
            if time.monotonic() > end:
                return
            threads = [threading.Thread(target=self._break, args=fault) for fault in group]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            time.sleep(pauses.uniform(0, CALM_SECONDS))

    def _break(self, of: str, fault: Break, own: random.Random) -> None:
        self.faults += 1
        number = self.faults
        self.events.write(Fault(number, fault.__name__, of, time.monotonic()))
        try:
            fault(Ground(self.processes, self.models, of, own))
            until(lambda: self._is_over(of), HEAL_SECONDS)
            self.events.write(Over(number, time.monotonic()))
            self._catch_up()
            self.events.write(CaughtUp(number, time.monotonic()))
        except Exception as error:  # Whatever it is, it is what the soak has found.
            self.events.write(Stuck(number, time.monotonic(), repr(error)))

    def _is_over(self, of: str) -> bool:
        """Whether what was broken answers again."""
        if of == "valkey":
            return all(self.processes.finds_its_store(app) for app in APPS)
        return of not in APPS or (self.predicts(of) and self.processes.finds_its_store(of))

    def _catch_up(self) -> None:
        for model, newest in [(model, until(partial(self._number, model, "last"), HEAL_SECONDS)) for model in NAMES]:
            until(partial(self._has_reached, model, newest), HEAL_SECONDS)

    def _has_reached(self, model: str, offset: int) -> bool:
        return (self._number(model, "head", "offset") or 0) >= offset

    def _number(self, model: str, noun: str, field: str | None = None) -> int | None:
        key, redis = getattr(Keys("driftline:").of(self.models[model]), noun), self.processes.redis
        try:
            found = redis.hget(key, field) if field else redis.get(key)
        except (RedisError, OSError):
            return None
        return int(found) if found else None

    def _come_to_rest(self) -> None:
        """Learns a little more, longer after the last fault than anything may be left over."""
        self._catch_up()
        time.sleep(ORPHAN_SECONDS + SWEEP_SECONDS)
        for number in range(LAST_ROUNDS):
            for model in NAMES:
                row = [number / 10] * 8
                self.feeders[0].hand_in(model, [{"id": f"last-{number}", "inputs": row, "label": truth(model, row, 0)}])
            self._catch_up()
            time.sleep(CHECKPOINT_SECONDS + 0.5)
        for model in NAMES:
            self.processes.clients[APPS[0]].wait_served(model, f"last-{LAST_ROUNDS - 1}", HEAL_SECONDS)

    def _ask_for_receipts(self) -> None:
        acknowledged = [item for feeder in self.feeders for item in feeder.acknowledged]

        def ask(index: int) -> None:
            model, identifier = acknowledged[index]
            receipt = self.processes.clients[APPS[index % len(APPS)]].receipt(model, identifier)
            self.events.write(Received(model, identifier, receipt["state"]))

        with ThreadPoolExecutor(RECEIPTS_AT_ONCE) as pool:
            list(pool.map(ask, range(len(acknowledged))))


def soak(folder: Path, seconds: float, seed: int) -> None:
    """Runs one soak in ``folder``, which then holds ``events.jsonl``, ``processes.log`` and the store's data."""
    events = EventLog(folder / "events.jsonl")
    try:
        with Processes(folder) as processes:
            Soak(processes, seed, events).run(seconds)
    finally:
        events.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3600)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--folder", type=Path, default=None, help="a new one; default: a temporary one")
    arguments = parser.parse_args()
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="soak-"))
    folder.mkdir(parents=True, exist_ok=True)
    print(f"seed {arguments.seed}, {arguments.seconds:g} s, in {folder}", flush=True)
    soak(folder, arguments.seconds, arguments.seed)
    sys.exit(check.report(folder))


if __name__ == "__main__":
    main()
