"""Which worker learns which model: rendezvous hashing with bounded loads, weighted by what models cost.

Each worker prefers models by a hash of both names (Thaler & Ravishankar 1998), so that one that comes or goes moves no model
but those that it takes or had. No worker takes more than its share and :data:`SLACK` (Mirrokni et al. 2018,
https://arxiv.org/abs/1608.01350): a model that finds its first choice full goes to the next one. Every worker computes the
same from what all heartbeats say, and gives up what is another's; there is no leader and no plan that is stored. Where two look
at different moments, the leases decide.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Collection, Iterable, Mapping, Sequence

IDLE_COST = 0.002
"""What a model costs whose worker has nothing to compute for it, in shares of the worker's thread."""
SLACK = 0.05
"""How much more than the mean a worker takes."""
LEAST_COST, MOST_COST = 1 / 32, 1.0
"""Below the half of the least, a busy model counts as idle; an idle one counts as busy from three quarters of it on."""


def place(
    uids: Iterable[str],
    workers: Collection[str],
    costs: Mapping[str, float] | None = None,
    refused: Mapping[str, Collection[str]] | None = None,
    preferences: dict[str, list[str]] | None = None,
) -> dict[str, str]:
    """The worker of each model.

    Args:
        uids: all models.
        workers: the workers that live.
        costs: what busy models take of a worker's thread, 0 to 1.
        refused: the models that a worker cannot learn: another one has them, if there is one that can.
        preferences: in which order models prefer these workers, as far as it is known; what is found is added.

    >>> place(["a", "b"], ["only"])
    {'a': 'only', 'b': 'only'}
    >>> sorted(place(map(str, range(24)), ["x", "y", "z"]).values()).count("y")
    8
    """
    costs, refused, preferences = costs or {}, refused or {}, {} if preferences is None else preferences
    cost_of = {uid: IDLE_COST + costs.get(uid, 0.0) for uid in uids}
    if not workers:
        return {}
    share = (1 + SLACK) / len(workers) * (1 + 1e-9)
    busy_bound = share * sum(cost for cost in cost_of.values() if cost > IDLE_COST)
    idle_bound = share * sum(cost_of.values())
    loads = dict.fromkeys(workers, 0.0)
    found = {}
    # What costs most is placed first, while there is room everywhere; idle models then fill what is left.
    for uid in sorted(cost_of, key=lambda uid: (-cost_of[uid], uid)):
        bound = busy_bound if cost_of[uid] > IDLE_COST else idle_bound
        preferred = preferences.get(uid) or preferences.setdefault(uid, _preferred(workers, uid))
        wanted = [worker for worker in preferred if uid not in refused.get(worker, ())] or preferred
        fitting = (worker for worker in wanted if loads[worker] + cost_of[uid] <= bound)
        chosen = next(fitting, None) or min(wanted, key=lambda worker: loads[worker])
        loads[chosen] += cost_of[uid]
        found[uid] = chosen
    return found


def _preferred(workers: Iterable[str], uid: str) -> list[str]:
    return sorted(workers, key=lambda worker: _preference(worker, uid), reverse=True)


def _preference(worker: str, uid: str) -> bytes:
    return hashlib.blake2b(f"{worker} {uid}".encode(), digest_size=8).digest()


class Placement:
    """:func:`place`, computed again only when something has changed, and hashed only when other workers live."""

    def __init__(self) -> None:
        self._asked: object = None
        self._found: dict[str, str] = {}
        self._workers: Sequence[str] = ()
        self._preferences: dict[str, list[str]] = {}

    def last(self, uid: str) -> str | None:
        """Where a model was placed the last time; None for one that is new."""
        return self._found.get(uid)

    def of(
        self,
        uids: Iterable[str],
        workers: Iterable[str],
        costs: Mapping[str, float],
        refused: Mapping[str, Collection[str]],
    ) -> dict[str, str]:
        """The worker of each model; of ten thousand that takes a tenth of a second where other workers live than before."""
        known, living = frozenset(uids), sorted(workers)
        asked = known, living, dict(costs), {name: set(each) for name, each in refused.items()}
        if asked != self._asked:
            is_same = living == self._workers
            kept = {uid: each for uid, each in self._preferences.items() if uid in known} if is_same else {}
            self._workers, self._preferences = living, kept
            self._asked, self._found = asked, place(*asked, preferences=kept)
        return self._found


class Costs:
    """What the models of this worker cost, in steps of two, so that small changes move no model.

    Args:
        window_seconds: the time over which it is measured.
    """

    def __init__(self, window_seconds: float = 30.0) -> None:
        self.window_seconds = window_seconds
        self.current: dict[str, float] = {}
        self._begun: dict[str, tuple[float, float]] = {}

    def begin(self, uid: str, cost: float, seconds: float) -> None:
        """A model comes, whose former worker has told its cost; ``seconds`` were computed for it so far."""
        self._begun[uid] = time.monotonic(), seconds
        self._set(uid, cost)

    def end(self, uid: str) -> None:
        """A model goes."""
        self._begun.pop(uid, None)
        self._set(uid, 0.0)

    def measure(self, computed: Mapping[str, float]) -> None:
        """Follows for how many seconds was computed for each model; a window after the last look at it."""
        now = time.monotonic()
        for uid, (then, before) in list(self._begun.items()):
            if now - then >= self.window_seconds:
                seconds = computed.get(uid, 0.0)
                self._set(uid, step_of((seconds - before) / (now - then), self.current.get(uid, 0.0)))
                self._begun[uid] = now, seconds

    def _set(self, uid: str, cost: float) -> None:
        if cost:
            self.current[uid] = cost
        else:
            self.current.pop(uid, None)


def step_of(load: float, former: float) -> float:
    """The power of two next to a load; the former one for as long as the load is no more than its double, or half of it.

    >>> step_of(0.3, 0.0), step_of(0.3, 0.5), step_of(0.01, 0.0), step_of(0.2, 0.5)
    (0.25, 0.5, 0.0, 0.25)
    """
    if former and former / 2 <= load <= 2 * former:
        return former
    if load < (LEAST_COST / 2 if former else 0.75 * LEAST_COST):
        return 0.0
    return min(MOST_COST, max(LEAST_COST, 2.0 ** round(math.log2(load))))
