"""``auto``: a candidate is promoted unless it is worse."""

from __future__ import annotations

from driftline.learning.promotion.champions import Candidate, Champions, Promotion
from driftline.learning.promotion.gate import Comparison, Decision
from driftline.learning.promotion.trials import RejectedStreak


def decide_auto(champions: Champions, candidate: Candidate, latest: Comparison | None) -> Promotion | None:
    """Compares where a comparison is due; between two of them every finite candidate is served, ahead of the champion."""
    if latest is not None:
        return _compare(champions, candidate, latest)
    if not candidate.model.module.is_finite():
        return Promotion(champions.refuse(Decision(False, "its weights are not finite"), candidate.learned))
    champions.is_ahead, champions.served_at = True, candidate.learned
    since = candidate.learned - champions.compared_at
    return Promotion(Decision(True, f"promoted unjudged: {since} labels since the last comparison"))


def _compare(champions: Champions, candidate: Candidate, latest: Comparison) -> Promotion:
    decision, errors, of_champion = champions.compare(candidate.model.module, candidate.learned, latest)
    if decision.promoted:
        champions.pass_gate(candidate, errors)
        return Promotion(decision)
    champions.holdout.keep_errors(of_champion)
    streak = champions.streak(candidate.learned)
    streak.observe(latest)
    return _end_streak(champions, streak, candidate) or Promotion(champions.refuse(decision, candidate.learned))


def _end_streak(champions: Champions, streak: RejectedStreak, candidate: Candidate) -> Promotion | None:
    """Promotes what was rejected where the newest labels speak for it, and lets it begin again where they never do."""
    if not candidate.model.module.is_finite() or not (streak.is_won or streak.is_lost(candidate.learned)):
        return None
    champions.holdout.on_drift(streak.held_out + 1)
    return Promotion(streak.decide(candidate.learned), "set_champion" if streak.is_won else "begin_again")
