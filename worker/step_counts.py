"""What has come of a model's steps, counted for good: the counts are committed with the step that they count."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from driftline.learning.step_result import StepResult

from .commands import Effect

FINAL = ("succeeded", "failed", "cancelled")


def counted(before: Mapping[str, int], result: StepResult, effect: Effect) -> dict[str, int]:
    """The counts after a step: predictions whose label was learned, decisions of the gate, jobs that have ended, and records
    that were not learned.
    """
    found = Counter(before)
    found["labelled"] += sum(item.route != "import" for item, _ in result.served)
    if result.decision is not None:
        found["promoted" if result.decision.publishes else "refused"] += 1
        found["unjudged"] += result.decision.is_unjudged
    for job in effect.jobs:
        if job.state in FINAL:
            found[f"jobs_{job.state}"] += 1
    found["rejected"] += len(result.rejected)
    found["quarantined"] += len(result.quarantined)
    return {name: count for name, count in sorted(found.items()) if count}
