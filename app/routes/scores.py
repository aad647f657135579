"""``GET …/scores``: how good the served answers were, by the time at which their labels came."""

from __future__ import annotations

import math
from typing import Annotated, Any, cast

from fastapi import Query

from driftline.api import endpoints
from driftline.api.events import MAX_TIME, BucketClass, ScoreBucket, ScoreHistory
from driftline.errors import InvalidInput
from driftline.spec import ModelSpec, parse
from driftline.store.scores import HOUR, MINUTE, Bucket, ScoreBuckets, Sums, largest, merged

from ..services import Has
from .mount import json_router, serves

router = json_router()

DAY = 24 * HOUR
SHOWN_BUCKETS = 500
"""Most buckets where the call does not say how long one is."""
MAX_BUCKETS = 10_000
STEPS = [60 * minutes for minutes in (1, 2, 5, 10, 15, 30, 60, 120, 240, 480, 1440)]


@serves(router, endpoints.SHOW_SCORES)
async def show_scores(
    model: str,
    services: Has,
    since: Annotated[float | None, Query(ge=0, le=MAX_TIME)] = None,
    until: Annotated[float | None, Query(ge=0, le=MAX_TIME)] = None,
    step: Annotated[int | None, Query(ge=MINUTE, le=MAX_TIME)] = None,
) -> ScoreHistory:
    found = await services.catalog.get(model)
    until = services.connection.now() + MINUTE if until is None else until
    since = until - DAY if since is None else since
    if since >= until:
        raise InvalidInput(f"since: {since:g} is not before until, {until:g}", field="since", value=since)
    step = step_for(until - since, step)
    noun = "hours" if step % HOUR == 0 else "minutes"
    buckets = await ScoreBuckets(services.connection, found.uid).read(noun, since // step * step, until)
    has_classes = parse(ModelSpec, found.spec).kind.has_classes
    return {"step": step, "buckets": [shown(bucket, has_classes) for bucket in merged(buckets, step)]}


def step_for(seconds: float, step: int | None) -> int:
    """The seconds of a bucket: whole minutes, and whole hours where there would be too many minutes to read."""
    if step is None:
        return next((step for step in STEPS if seconds / step <= SHOWN_BUCKETS), STEPS[-1])
    if seconds / step > MAX_BUCKETS:
        message = f"step: {step} s would be more than {MAX_BUCKETS:,} buckets; name a longer step or a shorter time"
        raise InvalidInput(message, field="step", value=step)
    unit = HOUR if seconds / MINUTE > MAX_BUCKETS else MINUTE
    return math.ceil(step / unit) * unit


def shown(bucket: Bucket, has_classes: bool) -> ScoreBucket:
    """A bucket as the API shows it."""
    found: dict[str, Any] = {
        "time": float(bucket.time),
        "count": bucket.total.count,
        **_scores(bucket.total, has_classes),
    }
    if has_classes:
        if bucket.total.with_loss:
            found["log_loss"] = bucket.total.log_loss / bucket.total.with_loss
        if bucket.auc is not None:
            found["auc"] = bucket.auc
        found["classes"] = {name: _class(sums) for name, sums in largest(bucket.classes).items()}
    else:
        found["rmse"] = math.sqrt(bucket.total.squared / bucket.total.count)
    if bucket.sources:
        found["sources"] = {
            name: {"count": sums.count, **_scores(sums, has_classes)} for name, sums in largest(bucket.sources).items()
        }
    return cast(ScoreBucket, found)


def _scores(sums: Sums, has_classes: bool) -> dict[str, float]:
    return {"accuracy": sums.right / sums.count} if has_classes else {"mae": sums.absolute / sums.count}


def _class(sums: Sums) -> BucketClass:
    return {"support": sums.count, "recall": sums.right / sums.count}
