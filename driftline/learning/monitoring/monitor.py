"""What is observed of a model while it is served: how good its answers were, and whether drift was detected."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, TypeAlias

import msgspec
from torch import Tensor

from driftline.learning.examples import Examples
from driftline.learning.labelled_batch import LabelledBatch
from driftline.learning.monitoring.attribution import change_point, moved_classes
from driftline.learning.monitoring.drift import drift_detector
from driftline.learning.monitoring.forgetting import Forgetting
from driftline.learning.monitoring.input_drift import InputDriftMonitor
from driftline.learning.monitoring.label_selection import KIND as WRONG_ONLY
from driftline.learning.monitoring.label_selection import NEAR_SHARE, LabelSelection, Wrongness, knows_better
from driftline.learning.monitoring.prequential import Prequential
from driftline.learning.monitoring.running_metrics import ScoredPrediction
from driftline.learning.monitoring.scoring import Scored
from driftline.learning.promotion import gate
from driftline.learning.replay.recent import RecentWindow
from driftline.learning.stateful import Former, State, Stateful
from driftline.networks.error_unit import divisor
from driftline.networks.served_model import ServedModel
from driftline.records import Item
from driftline.spec import ModelSpec

SETTLED_STANDARD_ERRORS = 2.0
NEWEST_ERRORS = 100
"""So many say how far off values are by now."""

ServedRow: TypeAlias = tuple[Item, Scored]
"""An item that brings an answer, and how good that was."""


@dataclass(frozen=True)
class Alarm:
    """``drift``: the error of what was served has risen. ``inputs``: what comes in is distributed otherwise. ``wrong_only``:
    labels seem to come for wrong answers alone.

    ``at`` is the log number of the label that showed it, ``since`` the one with which it has most likely begun. ``classes`` are
    those that err more, as ``attribution.moved_classes`` gives them, ``features`` the inputs that have moved, as a
    ``DriftReport`` names them. ``before`` and ``now`` are the mean errors on both sides of ``since``; of ``wrong_only``, what
    it would be at most, and what it is.
    """

    kind: str
    at: int
    message: str
    since: int = 0
    features: list[dict[str, Any]] = field(default_factory=list)
    classes: list[dict[str, Any]] = field(default_factory=list)
    before: float | None = None
    now: float | None = None

    def as_json(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if value is not None}


class Monitor(Stateful):
    """Scores what was served, raises alarms and keeps them, with the newest examples, which an action on an alarm may need.

    Args:
        former: makes a former module of the learner's network from its tensors.
        max_alarms: how many are kept.
        settled_labels: the newest labels that say whether the error of an alarm is over.
        max_recent: examples that are kept for an action on an alarm.
        measured_every: labels from one measurement of forgetting to the next.
    """

    STATE = (
        *("prequential", "detector", "input_drift", "alarms", "standing", "recent", "forgetting", "measured_at"),
        "label_selection",
    )
    DERIVED = ("recipe", "former", "max_alarms", "settled_labels", "max_recent", "measured_every")

    def __init__(
        self,
        spec: ModelSpec,
        former: Former,
        *,
        max_alarms: int = 20,
        settled_labels: int = 100,
        max_recent: int = 1000,
        measured_every: int = 100,
    ) -> None:
        self.recipe = spec.recipe
        self.former = former
        self.max_alarms, self.settled_labels = max_alarms, settled_labels
        self.max_recent, self.measured_every = max_recent, measured_every
        several = spec.known_classes() if spec.kind.is_multilabel else None
        self.prequential = Prequential(not spec.kind.has_classes, layout=spec.values, several=several)
        self.detector = drift_detector(self.recipe.detector)
        self.input_drift = self._input_drift()
        self.alarms: list[Alarm] = []
        self.standing: set[str] = set()
        """The kinds of alarms that are not over."""
        self.recent = self._recent(spec)
        self.forgetting = Forgetting()
        self.measured_at = 0
        self.label_selection = LabelSelection()

    def _input_drift(self) -> InputDriftMonitor | None:
        detector = self.recipe.input_detector
        return InputDriftMonitor(detector, self.former) if detector is not None else None

    def _recent(self, spec: ModelSpec) -> RecentWindow:
        is_needed = spec.recipe.on_alarm in ("shorten", "retrain")
        return RecentWindow(self.max_recent if is_needed else 0, Examples.empty(spec))

    def score(
        self,
        labelled_batch: LabelledBatch,
        index_of: Mapping[tuple[type, object], int],
        since: int,
        next_version: int,
        unit: Tensor | None = None,
    ) -> tuple[list[ServedRow], list[Alarm]]:
        """Compares what was served with the labels.

        Args:
            index_of: where each class, by type and name, stands in answers by version ``since`` and later ones; of
                former answers that is not known.
            next_version: the first one that may have learned these labels.
            unit: of several outputs, what the error of each is divided by ``[outputs]``.

        Returns:
            The items that bring an answer, each with its scores; and the alarms that the errors of live ones have raised.
        """
        answered = [
            (n, item, item.answer.version)
            for n, item in zip(labelled_batch.numbers, labelled_batch.items, strict=True)
            if item.answer is not None
        ]
        has_places = self.prequential.has_one_class
        places = [index_of if version >= since and has_places else None for _, _, version in answered]
        divisors = None if unit is None else divisor(unit).numpy()
        rows = self.prequential.scores([(n, item) for n, item, _ in answered], places, divisors)
        alarms, scored = [], []
        wrongness = _wrongness(self.prequential) if WRONG_ONLY not in self.standing else None
        for (n, item, version), row in zip(answered, rows, strict=True):
            if item.route != "live":
                continue
            scored.append(row)
            if self.detector.update(row.error):
                self.prequential.add(scored)
                scored = []
                alarms.append(self._drift(n))
                self.label_selection.on_drift()
            elif wrongness is not None:
                is_right = row.error < wrongness.from_error
                expected = wrongness.at_most_of(int(row.answer) if self.prequential.has_one_class else 0)
                self.label_selection.update(n, is_right, version, expected, next_version)
        self.prequential.add(scored)
        return [(item, row) for (_, item, _), row in zip(answered, rows, strict=True)], alarms

    def revise(
        self,
        corrected: LabelledBatch,
        index_of: Mapping[tuple[type, object], int],
        since: int,
        unit: Tensor | None = None,
    ) -> None:
        """Scores what was served by the labels that are known now, in place of the former ones; as :meth:`score` has it."""
        self.recent.revise(corrected.examples)
        divisors = None if unit is None else divisor(unit).numpy()
        for n, item in zip(corrected.numbers, corrected.items, strict=True):
            if item.answer is None or item.route != "live" or item.revises is None:
                continue
            former = msgspec.structs.replace(item, label=item.revises.label, weight=item.revises.weight)
            is_in_order = item.answer.version >= since and self.prequential.has_one_class
            scores = [
                self.prequential.score(
                    n, each, index_of if is_in_order and _is_known(each, index_of) else None, divisors
                )
                for each in (item, former)
            ]
            self.prequential.revise(*scores)

    def _drift(self, n: int) -> Alarm:
        """The alarm of a risen error at ``n``, with what the newest labels tell of it."""
        # What a former alarm was about is over: the rise is sought after where that began.
        former = max((alarm.since for alarm in self.alarms if alarm.kind == "drift"), default=0)
        window = self.prequential.window
        rows = [row for row in window if row.n >= former]
        since = rows[change_point([row.error for row in rows])].n
        classes = []
        before, after = [row for row in window if row.n < since], [row for row in window if row.n >= since]
        if self.prequential.has_one_class:
            classes = moved_classes(before, after, self.prequential.names)
        where = f"; most in {', '.join(repr(moved['class']) for moved in classes[:3])}" if classes else ""
        name = self.recipe.detector.name
        message = f"the error of what is served has risen ({name}), since record {since}{where}"
        return Alarm("drift", n, message, since, [], classes, _mean_error(before or after), _mean_error(after))

    def look(self, live: LabelledBatch, module: ServedModel, learned: int) -> list[Alarm]:
        """Looks at what came in, and at what the ``module``, which has ``learned`` so many labels, makes of it."""
        if self.input_drift is None or not len(live):
            return []
        found = self.input_drift.see(live.examples.inputs, live.numbers, module, learned)
        return [Alarm("inputs", live.numbers[-1], str(moved), moved.since, features=moved.features) for moved in found]

    def doubt(self, live: LabelledBatch, known_since: Callable[[int], Examples], served: ServedModel) -> list[Alarm]:
        """Whether labels come for wrong answers alone; ``known_since`` gives those that are kept from a record on."""
        selection, since = self.label_selection, self.label_selection.since
        if since is None:
            return []
        wrongness = _wrongness(self.prequential)
        assert wrongness is not None
        because: str | None = "less often than chance has an answer right"
        if not self.prequential.has_one_class:
            because = _what_is_known_better(served, known_since(since), wrongness)
        message, error = because and selection.message(because), selection.error
        selection.begin_again()
        if message is None:
            return []
        return [Alarm(WRONG_ONLY, live.numbers[-1], message, since, before=wrongness.at_most, now=error)]

    def keep(self, alarms: Sequence[Alarm]) -> None:
        """Keeps the newest alarms."""
        self.alarms = [*self.alarms, *alarms][-self.max_alarms :]

    def settle(self, raised: Sequence[Alarm]) -> list[str]:
        """The kinds of alarms that stood until now, whose cause is over; those that were just raised stand from here on."""
        new = {alarm.kind for alarm in raised}
        over = [kind for kind in sorted(self.standing - new) if self._is_over(kind)]
        self.standing = (self.standing | new) - set(over)
        return over

    def _is_over(self, kind: str) -> bool:
        """Whether inputs are again as they were, or errors not more than before by more than chance allows."""
        if kind == "inputs":
            return self.input_drift is None or self.input_drift.is_settled
        alarm = next((alarm for alarm in reversed(self.alarms) if alarm.kind == kind), None)
        if alarm is None or alarm.before is None:
            return True
        newest = list(islice(reversed(self.prequential.window), self.settled_labels))
        if len(newest) < self.settled_labels or newest[-1].n <= alarm.at:
            return False
        errors = [row.error for row in newest]
        if kind == WRONG_ONLY and (wrongness := _wrongness(self.prequential)) is not None:
            errors = wrongness.of(errors)
        chance = SETTLED_STANDARD_ERRORS * statistics.stdev(errors) / math.sqrt(len(errors))
        return bool(statistics.fmean(errors) <= alarm.before + chance)

    def answered(self, alarms: Sequence[Alarm]) -> list[Alarm]:
        """The alarms that the recipe's ``on_alarm`` is for."""
        detector = self.recipe.input_detector
        kinds = {"drift", "inputs"} if detector is not None and detector.answered else {"drift"}
        return [alarm for alarm in alarms if alarm.kind in kinds]

    def is_hurried(self, offset: int) -> bool:
        """Whether, at this offset of the log, labels are learned as they come because of an alarm."""
        alarms = self.answered(self.alarms)
        return self.recipe.on_alarm == "faster" and bool(alarms) and offset - alarms[-1].at < self.recipe.trigger.alarm

    def remember(self, learned: LabelledBatch) -> None:
        """Keeps what was trained on, where an answer to an alarm may need it."""
        if self.recent.is_kept:
            self.recent.add(learned.examples, learned.numbers)

    def measure_forgetting(
        self, champion: ServedModel, held_out: Examples, classes: Sequence[int | str], learned: int
    ) -> None:
        """Of the champion, over all that is held out; now and then, since it costs a pass over these rows."""
        if not self.prequential.has_one_class or learned - self.measured_at < self.measured_every:
            return
        self.measured_at = learned
        self.forgetting.measure(gate.errors(champion, held_out, in_order=False), held_out.targets, classes)

    def dismiss_frozen_copy(self) -> None:
        """The network is no longer the one that the lookout has a copy of."""
        if self.input_drift is not None:
            self.input_drift.dismiss_frozen_copy()

    def follow_recipe(self, spec: ModelSpec) -> None:
        """Goes on by another recipe; what it says otherwise begins again."""
        before, self.recipe = self.recipe, spec.recipe
        if self.recipe.detector != before.detector:
            self.detector = drift_detector(self.recipe.detector)
        if self.recipe.input_detector != before.input_detector:
            self.input_drift = self._input_drift()
        if self.recipe.on_alarm != before.on_alarm:
            self.recent = self._recent(spec)

    def shown(self) -> dict[str, Any]:
        """What is told of it: ``forgetting`` and ``backward_transfer``, ``prequential``, and the newest alarm of each kind as
        ``alarms``.
        """
        return {
            **self.forgetting.shown(),
            "prequential": self.prequential.shown(),
            "alarms": [alarm.as_json() for alarm in {alarm.kind: alarm for alarm in self.alarms}.values()],
        }

    def packed(self, name: str) -> Any:
        return [alarm.as_json() for alarm in self.alarms] if name == "alarms" else super().packed(name)

    def restored(self, name: str, state: State) -> Any:
        if name == "alarms":
            return [Alarm(**alarm) for alarm in state.data[name]]
        if name == "standing":  # A state from before alarms were over has none that stands.
            return set(state.data.get(name, ()))
        # Nor did former releases follow which answers are labelled.
        if name == "label_selection" and name not in state.data:
            return self.label_selection
        return super().restored(name, state)


def _wrongness(prequential: Prequential) -> Wrongness | None:
    """What is a wrong answer by now; None where that is not known: of several values or classes a row, it is not."""
    if prequential.has_one_class:
        return Wrongness.of_classes(prequential.newest.support)
    if prequential.scored_kind is not ScoredPrediction:
        return None
    return Wrongness.of_values([row.error for row in islice(reversed(prequential.window), NEWEST_ERRORS)])


def _what_is_known_better(served: ServedModel, known: Examples, wrongness: Wrongness) -> str | None:
    """About how many of the values that are known what is served is right; None where the model itself may be as bad as its
    labels say: one that has learned nothing is bad, and its labels may be those of all answers."""
    wrong = sum(wrongness.of(gate.errors(served, known, in_order=False).tolist()))
    right = len(known) - round(wrong)
    if not knows_better(len(known), right, round(NEAR_SHARE * len(known))):
        return None
    return f"while what is served now is right about {right} of {len(known)} of these labels"


def _is_known(item: Item, index_of: Mapping[tuple[type, object], int]) -> bool:
    return (type(item.label), item.label) in index_of


def _mean_error(rows: Sequence[Scored]) -> float:
    return statistics.fmean(row.error for row in rows)
