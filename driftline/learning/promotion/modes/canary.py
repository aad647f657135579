"""``canary``: a candidate is judged by how it answers a share of the traffic."""

from __future__ import annotations

import dataclasses

from driftline.learning.promotion.champions import Candidate, Champions, Promotion
from driftline.learning.promotion.gate import Comparison, Decision
from driftline.learning.promotion.modes.auto import decide_auto
from driftline.learning.promotion.trials import CanaryTrial
from driftline.networks.clone import clone


def decide_canary(champions: Champions, candidate: Candidate, latest: Comparison | None) -> Promotion | None:
    """Begins a canary where there is none, and ends one that has been labelled often enough; the first labels need none."""
    if candidate.learned < champions.limits.first_labels:
        return decide_auto(champions, candidate, latest)
    return _begin(champions, candidate) if champions.canary is None else _end(champions, champions.canary, candidate)


def _begin(champions: Champions, candidate: Candidate) -> Promotion | None:
    if candidate.learned == champions.compared_at or not candidate.model.module.is_finite():
        return None
    needed = champions.recipe.labels
    champions.canary = CanaryTrial(candidate.version, clone(candidate.model.module), needed)
    champions.compared_at = candidate.learned
    return Promotion(Decision(False, f"canary: judged at {needed} labels of its answers", canary="begun"))


def _end(champions: Champions, canary: CanaryTrial, candidate: Candidate) -> Promotion | None:
    if not canary.is_due:
        return None
    decision, champions.canary = canary.decide(), None
    if decision.promoted:
        champions.watch_promotion(canary.version, candidate.model.spec, candidate.model.classes)
        champions.promote(canary.module)
        champions.is_ahead = False
    return Promotion(dataclasses.replace(decision, canary="ended"))
