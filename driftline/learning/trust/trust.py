"""Whose labels are learned: each labeller is compared with the others, and one that departs from them is set aside."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from driftline.learning.monitoring.monitor import Alarm
from driftline.learning.stateful import State
from driftline.learning.step_result import StepResult
from driftline.learning.trust.comparison import (
    MIN_POOLED,
    SHRINKAGE,
    Circle,
    Compared,
    MeasuredLabels,
    compare,
    differing,
    expected_rate,
    newest_contradictions,
)
from driftline.learning.trust.labeller import SETTLED, Labeller, LabellerState
from driftline.learning.trust.labellers import SHARE_WINDOW, Labellers
from driftline.learning.trust.likeness import ReferenceRows
from driftline.records import Item
from driftline.spec.parts.trust import LabellerTrust

Records = list[tuple[int, Item]]
Measure = Callable[[Records], MeasuredLabels]

KIND = "labellers"
"""What the alarm is called."""
MAX_HELD = 2000
"""The newest labels that are kept for an admin; older ones are dropped."""
RECORD = 30
"""Comparisons after which a labeller that has agreed has a record: it may be the first to see a drift."""
MIN_REPEATED = 30

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[tuple[int, Item]])


@dataclass
class Sifted:
    """What becomes of the records of a step: those that are learned, with the weights that they have; the reasons of those
    that are not, by log number; and the ids of those that are learned after all, by log number.

    ``withdrawn`` are the log numbers ``[rows]`` of former labels that count no longer. ``inputs`` are the rows of all
    that came and count, where these are tensors already.
    """

    come: Records
    held: dict[int, str] = field(default_factory=dict)
    released: dict[int, str] = field(default_factory=dict)
    alarms: list[Alarm] = field(default_factory=list)
    over: list[str] = field(default_factory=list)
    withdrawn: list[NDArray[np.int64]] = field(default_factory=list)
    inputs: dict[str, Tensor] | None = None

    def rows_of(self, come: Records) -> dict[str, Tensor] | None:
        """The rows of these as tensors, where they are known and all that is learned: a correction with its label is not."""
        return self.inputs if len(come) == len(self.come) and not self.held and not self.released else None

    @property
    def tells(self) -> bool:
        """Whether there is anything to tell of it."""
        return bool(self.alarms or self.held or self.over or self.released)

    @property
    def result(self) -> StepResult:
        """What is told of it."""
        return StepResult(alarms=self.alarms, quarantined=self.held, over=self.over, released=self.released)


class FollowedLabel(NamedTuple):
    """What the tests of its labeller see of a label: its log number, the error of what was served, its class, where it is one,
    and what :class:`Compared` says.
    """

    n: int
    error: float
    target: float | None
    mark: float
    heard: float
    local: float
    repeated: bool
    changed: bool


def _followed(measured: MeasuredLabels, compared: Compared) -> Iterable[FollowedLabel]:
    numbers, errors = measured.numbers.tolist(), measured.errors.tolist()
    targets = measured.targets[:, 0].tolist() if measured.served is not None else [None] * len(numbers)
    heard, local = compared.heard.tolist(), compared.local.tolist()
    repeats = compared.repeated.tolist(), compared.changed.tolist()
    return map(FollowedLabel, numbers, errors, targets, compared.contradicts.tolist(), heard, local, *repeats)


class Trust(Labellers):
    """Compares labellers, and keeps the labels of those that depart.

    While all labels come from nobody in particular nothing is kept; while they come from one labeller they are counted alone.
    ``released`` were held, and are learned with the next step.
    """

    STATE = ("references", "held", "released", "is_standing")
    DERIVED = ("_circle",)

    def __init__(self, recipe: LabellerTrust) -> None:
        super().__init__(recipe)
        self.references = ReferenceRows()
        self.held: Records = []
        self.released: Records = []
        self.is_standing = False
        self._circle: Circle | None = None

    def sift(self, come: Records, rejected: Sequence[Item], measure: Measure) -> Sifted:
        """Takes in the records of a step, and parts those that are learned from those that are not.

        Args:
            rejected: those that did not fit.
            measure: measures records for a comparison.
        """
        if self.is_idle and not any(item.caller or item.source is not None for _, item in come):
            return Sifted(come)
        for item in rejected:
            self.labellers[self._place(item)].rejected += 1
        places = np.array([self._place(item) for _, item in come], np.int64)
        for place in places.tolist():
            self.labellers[place].labels += 1
        if not self.is_comparing:
            self._note([n for n, _ in come], places.tolist())
            self.numbers, self.owners = self.numbers[-SHARE_WINDOW:], self.owners[-SHARE_WINDOW:]
            return Sifted(come)
        sifted = Sifted([])
        counted = [row for row, (_, item) in enumerate(come) if item.weight > 0]
        if counted:
            self._compare([come[row] for row in counted], places[counted], measure, sifted)
        released, self.released = self.released, []
        sifted.released = {n: item.id for n, item in released}
        whole = [*released, *come]
        self._admit(whole, [self._place(item) for _, item in whole], sifted)
        self._settle(sifted)
        return sifted

    def _compare(self, come: Records, places: NDArray[np.int64], measure: Measure, sifted: Sifted) -> None:
        measured, circle = measure(come), self._the_circle()
        sifted.inputs = measured.inputs
        compared = compare(self.references, measured, places, circle)
        self._follow(measured, compared, places, circle)
        self._bear_out(measured, compared, places, circle)
        self._set_aside(int(measured.numbers[-1]), sifted)
        new = {
            "points": measured.points,
            "targets": measured.targets,
            "owners": places,
            "numbers": measured.numbers,
            "gaps": compared.gaps,
            "distances": compared.distances,
            "errors": measured.errors,
            "contradicts": compared.contradicts,
        }
        is_learned = self._are_learned(places)
        if not is_learned.all():
            new = {name: values[is_learned] for name, values in new.items()}
        self.references.add(**new)

    def _the_circle(self) -> Circle:
        if self._circle is None or len(self._circle.names) < len(self.labellers):
            self._circle = Circle(self.labellers)
        return self._circle

    def _follow(self, measured: MeasuredLabels, compared: Compared, places: NDArray[np.int64], circle: Circle) -> None:
        """Lets each labeller's tests follow its labels."""
        marks = np.where(self._are_learned(places), compared.contradicts, np.nan)
        newest = newest_contradictions(self.references, marks, places, circle)
        rates = [each.rate if each.is_learned else None for each in self.labellers]
        rows_of: dict[int, list[FollowedLabel]] = {}
        for place, label in zip(places.tolist(), _followed(measured, compared), strict=True):
            rows_of.setdefault(place, []).append(label)
        for place in sorted(rows_of):
            labeller = self.labellers[place]
            expected = expected_rate(place, rates, circle, newest[place])
            self._follow_labeller(place, rows_of[place], expected)
            rates[place] = labeller.rate if labeller.is_learned else None

    def _follow_labeller(self, place: int, labels: Sequence[FollowedLabel], expected: float) -> None:
        labeller = self.labellers[place]
        changes = self._rate_of_changes(place) if any(label.repeated for label in labels) else None
        for n, error, target, mark, heard, local, repeated, changed in labels:
            labeller.scored += 1
            labeller.errors += error
            if target is not None:
                labeller.follow_class(target)
            if repeated:
                labeller.repeat(n, changed, changes)
            if mark == mark and expected == expected:
                labeller.compare(n, mark, (SHRINKAGE * expected + local) / (SHRINKAGE + heard))

    def _are_learned(self, places: NDArray[np.int64]) -> NDArray[np.bool_]:
        return np.array([each.is_learned for each in self.labellers])[places]

    def _bear_out(
        self, measured: MeasuredLabels, compared: Compared, places: NDArray[np.int64], circle: Circle
    ) -> None:
        """Lets those who are on hold be compared with what others say by now, whatever is served."""
        if not any(each.state == "on hold" for each in self.labellers):
            return
        rows, are_classes = self.references, measured.served is not None
        of_rows = differing(rows, rows.distances, are_classes)
        of_new = differing(rows, compared.distances, are_classes)
        for place, labeller in enumerate(self.labellers):
            if labeller.state != "on hold":
                continue
            is_known = circle.others(place, rows.owners) & np.isfinite(rows.distances)
            if is_known.sum() >= MIN_POOLED:
                expected = float(of_rows[is_known][-SHARE_WINDOW // 10 :].mean())
                own = (places == place) & np.isfinite(compared.distances)
                labeller.excess = [*labeller.excess, *(of_new[own] - expected).tolist()][-SETTLED:]

    def _rate_of_changes(self, place: int) -> float | None:
        others = [each for other, each in enumerate(self.labellers) if other != place and each.is_learned]
        repeated = sum(each.repeated for each in others)
        return sum(each.changed for each in others) / repeated if repeated >= MIN_REPEATED else None

    def _set_aside(self, n: int, sifted: Sifted) -> None:
        """Sets labellers aside whose tests have found that they depart: never more than half of all."""
        for place, labeller in enumerate(self.labellers):
            if labeller.state != "learned" or not (found := labeller.departures):
                continue
            test, reason = found[0]
            aside = sum(not each.is_learned for each in self.labellers) + 1
            if self.recipe.mode == "tell" or aside > len(self.labellers) / 2:
                sifted.alarms.append(
                    Alarm(KIND, n, f"the labels of {labeller.name} {reason}; they are learned", test.since)
                )
                test.begin_again()
                continue
            is_on_record = test.before >= RECORD
            labeller.set_aside("on hold" if is_on_record else "quarantined", test.since, reason)
            own = self._numbers_of(place)
            sifted.withdrawn.append(own[own >= test.since] if is_on_record else own)
            self.references.leave_out(sifted.withdrawn[-1])
            sifted.alarms.append(self._alarm(labeller, n))

    def _alarm(self, labeller: Labeller, n: int) -> Alarm:
        what = "are on hold until others bear them out" if labeller.state == "on hold" else "are quarantined"
        return Alarm(KIND, n, f"the labels of {labeller.name} {what}: they {labeller.reason}", labeller.since)

    def _admit(self, come: Records, places: Sequence[int], sifted: Sifted) -> None:
        """Parts the records of labellers that are learned from those of others."""
        numbers, owners = [], []
        for (n, item), place in zip(come, places, strict=True):
            labeller = self.labellers[place]
            if not labeller.is_learned:
                labeller.held += 1
                self.held.append((n, item))
                sifted.held[n] = f"{labeller.name} is {labeller.state}: its labels {labeller.reason}"
                continue
            if item.weight > 0:
                sifted.come.append((n, self._weighed(item, place)))
                numbers.append(n)
                owners.append(place)
            else:
                sifted.come.append((n, item))
        self.held = self.held[-MAX_HELD:]
        self._note(numbers, owners)
        for place, labeller in enumerate(self.labellers):
            if labeller.state == "on hold":
                labeller.others += sum(owner != place for owner in owners)

    def _settle(self, sifted: Sifted) -> None:
        """Ends what was on hold: others bear it out, or have not for long enough."""
        n = max([n for n, _ in sifted.come] + [*sifted.held], default=0)
        for labeller in self.labellers:
            if labeller.state != "on hold":
                continue
            if labeller.is_borne_out:
                self._release(labeller, "learned")
            elif labeller.others >= self.recipe.hold:
                labeller.state = "quarantined"
                sifted.alarms.append(self._alarm(labeller, n))
        is_standing = any(not each.is_learned for each in self.labellers)
        if self.is_standing and not is_standing and not sifted.alarms:
            sifted.over.append(KIND)
        self.is_standing = is_standing

    def _release(self, labeller: Labeller, state: LabellerState) -> None:
        """Lets the labels of a labeller be learned, also those that were held, from the next step on."""
        labeller.settle(state)
        own = [(n, item) for n, item in self.held if self.labellers[self._place(item)] is labeller]
        self.held = [pair for pair in self.held if self.labellers[self._place(pair[1])] is not labeller]
        self.released += own

    def on_drift(self, since: int) -> None:
        """Drift was detected, of all labellers, which began with the log number ``since``: what is like is sought after it."""
        self.references.leave_out(self.references.numbers[self.references.numbers < since])
        for labeller in self.labellers:
            labeller.excess = []

    def take_over(self, live: Self, is_kept: Callable[[int, Item], bool]) -> list[NDArray[np.int64]]:
        """Takes over from a live learner, whose log was learned again here, who is set aside or trusted, and the labels that
        are kept of them, as far as ``is_kept`` says so of a label by number and item.

        Returns:
            The log numbers ``[rows]`` of labels that were learned here and count no longer.
        """
        withdrawn = []
        for each in live.labellers:
            place = self._place_of(each.caller, each.source)
            if each.is_learned and self.labellers[place].state != each.state:
                self._release(self.labellers[place], each.state)
            elif not each.is_learned:
                own = self._numbers_of(place)
                withdrawn.append(own[np.array([each.is_set_aside(n) for n in own.tolist()], np.bool_)])
                self.references.leave_out(withdrawn[-1])
                self.labellers[place] = copy.deepcopy(each)
        self.held = [pair for pair in live.held if is_kept(*pair)]
        self.released += [pair for pair in live.released if is_kept(*pair)]
        self.is_standing = live.is_standing
        return withdrawn

    def release(self, name: str) -> None:
        """An admin trusts a labeller: what was held is learned with the next step, and it is not tested any more."""
        labeller = self.find(name)
        if labeller is not None:
            self._release(labeller, "trusted")

    def drop(self, name: str) -> None:
        """An admin drops what is held of a labeller, which stays quarantined."""
        labeller = self.find(name)
        if labeller is None:
            return
        self.held = [pair for pair in self.held if self.labellers[self._place(pair[1])] is not labeller]
        if not labeller.is_learned:
            labeller.state = "quarantined"

    def packed(self, name: str) -> Any:
        if name in ("held", "released"):
            data = _encoder.encode(getattr(self, name))
            return torch.from_numpy(np.frombuffer(bytearray(data), np.uint8))
        return super().packed(name)

    def restored(self, name: str, state: State) -> Any:
        if name in ("held", "released"):
            return _decoder.decode(state.tensors[name].numpy().tobytes())
        return super().restored(name, state)
