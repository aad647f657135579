"""The workers as they are shown, and the alarms about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from driftline.api.health import WorkerList, WorkerState
from driftline.api.metrics import AlarmState
from driftline.store.catalog import by_uid
from driftline.store.workers import Heartbeat
from driftline.support.formatting import time_text

HUNG, NONE = "worker_hung", "no_worker"


def worker_list(
    heartbeats: Sequence[Heartbeat],
    names: Mapping[str, str],
    owners: Mapping[str, str | None],
    now: float,
    hung_seconds: float,
) -> WorkerList:
    """Every worker with what it owns.

    Args:
        names: name → uid of every model.
        owners: uid → the worker that holds its lease.
        now: the time by the clock of Redis.
        hung_seconds: how long a worker may be silent, or in one call of its compute thread.
    """
    owned: dict[str | None, list[str]] = {}
    for name, uid in sorted(names.items()):
        owned.setdefault(owners.get(uid), []).append(name)
    known = by_uid(names)
    workers = [_state(beat, owned.get(beat.id, []), known, now, hung_seconds) for beat in heartbeats]
    return {"workers": workers, "unowned": owned.get(None, [])}


def _state(
    beat: Heartbeat, models: list[str], known: Mapping[str, str], now: float, hung_seconds: float
) -> WorkerState:
    silent = max(0.0, now - beat.time)
    is_stuck = beat.computes_for is not None and beat.computing_seconds > hung_seconds
    found: WorkerState = {
        "id": beat.id,
        "state": "silent" if silent > hung_seconds else "stuck" if is_stuck else "working",
        "host": beat.host,
        "pid": beat.pid,
        "version": beat.version,
        "started": round(beat.started, 3),
        "silent_seconds": round(silent, 3),
        "load": beat.load,
        "restarts": beat.restarts,
        "models": models,
    }
    if beat.computes_for is not None:
        model = known.get(beat.computes_for, beat.computes_for)
        found["computing"] = {"model": model, "seconds": beat.computing_seconds}
    return found


def worker_alarms(listed: WorkerList, has_models: bool) -> list[AlarmState]:
    """What is wrong with the workers: those that hang, and that there is none although there are models."""
    workers = listed["workers"]
    alarms: list[AlarmState] = [
        {"kind": HUNG, "state": "standing", "message": _hung(worker), "worker": worker["id"]}
        for worker in workers
        if worker["state"] != "working"
    ]
    if has_models and all(worker["state"] == "silent" for worker in workers):
        message = "no worker runs, or none reaches the store: labels are taken, and wait; start one: driftline worker"
        alarms.append({"kind": NONE, "state": "standing", "message": message})
    return alarms


def _hung(worker: WorkerState) -> str:
    who = f"worker {worker['id']} (process {worker['pid']} on {worker['host']})"
    if worker["state"] == "stuck":
        current = worker["computing"]
        return (
            f"{who} has computed for model {current['model']!r} for {time_text(current['seconds'])} in one call, and "
            "learns nothing else meanwhile: its code hangs or is slow; if it does not end, kill the process"
        )
    return (
        f"{who} has been silent for {time_text(worker['silent_seconds'])}: it hangs, was killed, or does not reach the "
        "store; another worker takes its models over; if it hangs, kill the process"
    )
