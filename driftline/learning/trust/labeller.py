"""What is known of one labeller: who it is, how good its labels have been, and whether they are learned."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from driftline.learning.trust.departure import Departure
from driftline.records import labeller_name

LabellerState = Literal["learned", "on hold", "quarantined", "trusted"]
"""``learned``, until it departs; ``on hold`` while others may yet follow it; ``quarantined`` until an admin says otherwise;
``trusted`` since one has: it is not tested any more."""

MARGIN = 0.15
"""How much more often than others do a labeller may contradict them; on hold, to be learned again, a third of it."""
ONE_CLASS_MARGIN = 0.15
"""The same of labels of one class alone, where others say another one."""
ONE_CLASS_SHARE = 0.1
"""By what share of all compared labels these must be more than is usual."""
ITSELF_MARGIN = 0.3
RECENT = 64
"""Comparisons, and on hold those that others have to bear out, that say how it has been of late."""
SETTLED = 50
ONE_CLASS_RUN = 30
MAX_TIMES = 10.0
"""The most that a label may weigh, in units of the median weight of its labeller's."""
WEIGHTS = 100


class Labeller(msgspec.Struct):
    """A labeller: an API key, and the client's ``source`` within it.

    ``labels`` counts those that came, ``held`` those that were not learned, ``rejected`` those that did not fit. ``errors`` is
    the sum over the ``scored`` ones of how wrong the answers were that had been served. ``compared`` labels could be compared
    with others', and ``contradicted`` contradicted both them and what was served; ``repeated`` were of a row that it had
    labelled before, and ``changed`` of them were other labels. ``marks`` and ``weights`` are the newest ones; ``run`` is how
    many labels of the class ``last`` have come in a row. On hold, ``others`` counts labels of others since, and ``excess`` says
    how far the newest comparisons are beyond what is expected.
    """

    caller: str
    source: str | None
    state: LabellerState = "learned"
    reason: str = ""
    since: int = 0
    labels: int = 0
    held: int = 0
    rejected: int = 0
    scored: int = 0
    errors: float = 0.0
    compared: int = 0
    contradicted: int = 0
    repeated: int = 0
    changed: int = 0
    marks: list[float] = []
    weights: list[float] = []
    others: int = 0
    excess: list[float] = []
    last: float | None = None
    run: int = 0
    run_compared: int = 0
    run_expected: float = 0.0
    run_contradicted: int = 0
    contradiction: Departure = msgspec.field(default_factory=lambda: Departure(MARGIN))
    one_class: Departure = msgspec.field(default_factory=lambda: Departure(ONE_CLASS_MARGIN))
    itself: Departure = msgspec.field(default_factory=lambda: Departure(ITSELF_MARGIN))

    @property
    def name(self) -> str:
        return labeller_name(self.caller, self.source)

    @property
    def is_learned(self) -> bool:
        """Whether its labels are."""
        return self.state in ("learned", "trusted")

    def is_set_aside(self, n: int) -> bool:
        """Whether its label ``n`` counts no longer: of one that was on hold at first those before it departed still do."""
        had_agreed = self.state == "on hold" or self.others > 0
        return not self.is_learned and (n >= self.since or not had_agreed)

    @property
    def rate(self) -> float | None:
        """How often it contradicts others of late; None while too little is known."""
        return sum(self.marks) / len(self.marks) if len(self.marks) >= 5 else None

    def weigh(self, weight: float) -> float:
        """How much a label counts that has come now."""
        self.weights = [*self.weights, weight][-WEIGHTS:]
        return self.weighed(weight)

    def weighed(self, weight: float) -> float:
        """How much a label counts, in units of what this labeller's newest labels weigh on average: so these weigh 1 each, and
        none much more than most.
        """
        if not self.weights or min(self.weights) == max(self.weights) == weight:
            return 1.0
        most = MAX_TIMES * statistics.median(self.weights)
        return min(weight, most) / statistics.fmean(min(each, most) for each in self.weights)

    def follow_class(self, target: float) -> None:
        """Counts how many labels of one class have come in a row."""
        self.run = self.run + 1 if target == self.last else 1
        if self.run == 1:
            self.run_compared, self.run_expected, self.run_contradicted = 0, 0.0, 0
            self.one_class = Departure(
                ONE_CLASS_MARGIN, before=self.one_class.compared, compared=self.one_class.compared
            )
        self.last = target

    def compare(self, n: int, contradicts: float, expected: float) -> None:
        """Takes in whether label ``n`` contradicts others, and how often that is to be expected."""
        self.compared += 1
        self.contradicted += contradicts > 0
        self.marks = [*self.marks, contradicts][-RECENT:]
        self.contradiction.update(n, contradicts, expected)
        if self.run:
            self.run_compared += 1
            self.run_contradicted += contradicts > 0
            self.run_expected += expected
            if contradicts:
                # Where others say the same class there is nothing to tell.
                self.one_class.update(n, contradicts, expected)

    @property
    def is_of_one_class(self) -> bool:
        """Whether it says one class alone, where others often say others."""
        usual = self.run_expected + ONE_CLASS_SHARE * self.run_compared
        return self.run >= ONE_CLASS_RUN and self.run_contradicted > usual and self.one_class.has_departed

    def repeat(self, n: int, is_changed: bool, expected: float | None) -> None:
        """Takes in the label of a row that it has labelled before; ``expected`` is how often others change theirs, where it
        is known.
        """
        self.repeated += 1
        self.changed += is_changed
        if expected is not None:
            self.itself.update(n, float(is_changed), expected)

    @property
    def departures(self) -> Sequence[tuple[Departure, str]]:
        """The tests that have found that it departs, each with the reason."""
        has_departed = [self.itself.has_departed, self.is_of_one_class, self.contradiction.has_departed]
        if not any(has_departed):
            return ()
        wrong = f"{sum(self.marks):.0f} of its newest {len(self.marks)} labels that can be compared"
        said = f"contradict others' labels of like rows, and what was served: {wrong}"
        found = [
            (
                self.itself,
                f"contradict each other: {self.changed} of {self.repeated} labels of rows that it had labelled before",
            ),
            (
                self.one_class,
                f"are of one class only, where others have more on like rows: {self.run} in a row; {wrong}",
            ),
            (self.contradiction, said),
        ]
        return [each for each, departs in zip(found, has_departed, strict=True) if departs]

    def set_aside(self, state: LabellerState, since: int, reason: str) -> None:
        """Its labels are not learned from here on."""
        self.state, self.since, self.reason = state, since, reason
        self.others, self.excess = 0, []

    def settle(self, state: LabellerState) -> None:
        """Its labels are learned again."""
        self.state, self.reason, self.since = state, "", 0
        self.excess, self.marks = [], []
        for test in (self.contradiction, self.one_class, self.itself):
            test.begin_again()

    @property
    def is_borne_out(self) -> bool:
        """Whether, on hold, others by now say what it says."""
        return len(self.excess) >= SETTLED and statistics.fmean(self.excess) <= MARGIN / 3

    def shown(self, rest: float | None, share: float) -> dict[str, Any]:
        """What is told of it; ``rest`` is the mean error of what was served to all others."""
        return {
            "name": self.name,
            "key": self.caller,
            "source": self.source,
            "state": self.state,
            "reason": self.reason,
            "since": self.since,
            "labels": self.labels,
            "held": self.held,
            "rejected": self.rejected,
            "error": self.errors / self.scored if self.scored else None,
            "error_of_others": rest,
            "compared": self.compared,
            "agreement": 1 - self.contradicted / self.compared if self.compared else None,
            "repeated": self.repeated,
            "changed": self.changed,
            "share": share,
        }
