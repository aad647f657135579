"""The log and the steps: densely numbered, and complete as far back as they may be needed."""

from __future__ import annotations

from itertools import islice

from driftline.doctor.finding import Finding, error, ok, warning
from driftline.doctor.snapshot import StoreSnapshot, StreamInfo, number
from driftline.store.connection import RedisConnection, store_errors
from driftline.support.formatting import count_text

MAX_PAGE = 1000
RESTORE = "restore the store and the artifacts from a backup"


async def check(connection: RedisConnection, model: StoreSnapshot) -> list[Finding]:
    """What is missing in the log, and in the steps after the checkpoints."""
    return [await _check_log(connection, model), await _check_steps(connection, model)]


async def _check_log(connection: RedisConnection, model: StoreSnapshot) -> Finding:
    head, (_, kept_from) = model.head, model.kept_from
    if head.offset > model.last or model.log.last > model.last:
        message = (
            f"{model.name}: the log ends at record {model.log.last} and its count at {model.last}, but record {head.offset} "
            "is learned: the store has lost writes (log_gap)"
        )
        return error("log", message, _create_again(model))
    missing = await _missing(connection, model.log, kept_from + 1, model.last)
    if missing:
        return _log_gap(model, missing)
    held = f"records {model.log.first} to {model.last}" if model.log.count else "no records"
    return ok("log", f"{model.name}: the log holds {held}, without a gap")


def _log_gap(model: StoreSnapshot, missing: list[range]) -> Finding:
    message = f"{model.name}: the log lacks {numbers('record', missing)} (log_gap)"
    _, recovers_from = model.recovers_from
    if _end(missing) > model.head.offset or any(n in part for n in model.pending for part in missing):
        return error(
            "log", f"{message}; the worker stops there, and what waits after it is not learned", _create_again(model)
        )
    if _end(missing) > recovers_from:
        return error("log", f"{message}; {_NOT_REPEATED}", _CHECKPOINT)
    return warning("log", f"{message}; only a retrain, and a recovery from the older checkpoint, need them", _WATCH)


async def _check_steps(connection: RedisConnection, model: StoreSnapshot) -> Finding:
    head, (kept_from, _) = model.head, model.kept_from
    missing = await _missing(connection, model.steps, kept_from + 1, head.step)
    if not missing:
        steps = head.step - model.recovers_from[0]
        return ok("steps", f"{model.name}: a recovery repeats {count_text(steps, 'step')}, up to step {head.step}")
    message = f"{model.name}: the store lacks {numbers('step', missing)} (step_gap)"
    if _end(missing) > model.recovers_from[0]:
        return error("steps", f"{message}; {_NOT_REPEATED}", _CHECKPOINT)
    return warning("steps", f"{message}; only a recovery from the older checkpoint needs them", _WATCH)


_NOT_REPEATED = (
    "after a crash the steps after the checkpoint cannot be repeated, and learning restarts from the live version"
)
_CHECKPOINT = f"let the worker run, or end it with SIGTERM, so that it leaves a checkpoint; else {RESTORE}"
_WATCH = "nothing, once two more checkpoints are written; but find out what removes entries from the store"


def _create_again(model: StoreSnapshot) -> str:
    return (
        f"{RESTORE}; where there is none, create the model again with `driftline models create SPEC --weights FILE`: FILE is "
        f"what the manifest {model.head.manifest} names, beside it in artifacts/{model.uid}"
    )


async def _missing(connection: RedisConnection, stream: StreamInfo, first: int, last: int) -> list[range]:
    """The numbers that the stream lacks, from ``first`` or from its own first entry, if that is earlier, to ``last``."""
    if stream.count and stream.first <= first and stream.last >= last and _is_dense(stream):
        return []
    expected = min(first, stream.first) if stream.count else first
    missing: list[range] = []
    while page := await _page(connection, stream.key, expected):
        for n in page:
            if n > expected:
                missing.append(range(expected, n))
            expected = n + 1
    return [*missing, range(expected, last + 1)] if expected <= last else missing


def _is_dense(stream: StreamInfo) -> bool:
    return stream.count == stream.last - stream.first + 1


async def _page(connection: RedisConnection, key: str, start: int) -> list[int]:
    with store_errors():
        return [number(entry) for entry in await connection.redis.xrange(key, f"{start}-0", "+", MAX_PAGE)]


def _end(missing: list[range]) -> int:
    return missing[-1][-1]


def numbers(noun: str, missing: list[range], most: int = 5) -> str:
    """Missing numbers in words.

    >>> numbers("record", [range(3, 4), range(7, 10)])
    'records 3, 7 to 9'
    """
    parts = [str(part[0]) if len(part) == 1 else f"{part[0]} to {part[-1]}" for part in islice(missing, most)]
    more = f" and {len(missing) - most} more gaps" if len(missing) > most else ""
    is_one = len(missing) == 1 and len(missing[0]) == 1
    return f"{noun if is_one else noun + 's'} {', '.join(parts)}{more}"
