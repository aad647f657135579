"""What the target says of the task: classes, or a number."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from driftline.errors import InvalidInput
from driftline.spec.parts.fields import NumberField
from driftline.spec.task import TaskName
from driftline.tables.cells import Cell, shown
from driftline.tables.doubt import Doubt
from driftline.tables.fields import NumberReader
from driftline.tables.kinds import MOSTLY, missing_doubts, number_doubts, odd_cells
from driftline.tables.labels import is_integer, whole_number
from driftline.tables.numbers import DecimalMark, Number
from driftline.tables.profile import ColumnProfile
from driftline.tables.several_classes import find_several

MAX_LISTED: Final = 50
FEW_NUMBERS: Final = 20
MIN_REPEATS: Final = 3
"""Rows that each number has on average, at least, if they are classes."""


@dataclass(frozen=True)
class Target:
    """The task, and for a classification its classes, for a regression its several ``outputs`` and ``intervals``, if any."""

    task: TaskName
    classes: list[int | str] | str | None
    doubts: list[Doubt]
    outputs: list[str] | None = None
    intervals: list[float] | None = None


def decide_targets(
    profiles: Mapping[str, ColumnProfile],
    decimals: Mapping[str, DecimalMark],
    task: TaskName | None,
    intervals: list[float] | None = None,
) -> Target:
    """What the targets say of the task: one as :func:`decide_target` has it, several are the outputs of a regression.

    Raises:
        InvalidInput: there is no label, one of several is no number, or the task does not take what is asked for.
    """
    if len(profiles) > 1 and task not in (None, "regression"):
        message = f"--task {task} has one target, not {', '.join(map(repr, profiles))}: several are the outputs of a regression"
        raise InvalidInput(message, field="task", value=task)
    wanted: TaskName | None = "regression" if len(profiles) > 1 else task
    found = [decide_target(profile, decimals[name], wanted) for name, profile in profiles.items()]
    if intervals is not None and found[0].task != "regression":
        message = f"--intervals belong to a regression, and {next(iter(profiles))!r} is taken for classes: see --task"
        raise InvalidInput(message, field="intervals", value=intervals)
    doubts = [doubt for each in found for doubt in each.doubts]
    outputs = list(profiles) if len(profiles) > 1 else None
    return Target(found[0].task, found[0].classes, doubts, outputs, intervals)


def decide_target(profile: ColumnProfile, decimal: DecimalMark, task: TaskName | None) -> Target:
    """What the target says of the task, unless ``task`` does.

    Raises:
        InvalidInput: there is no label, or ``task`` asks for numbers, and most labels are none.
    """
    name = profile.name
    if not profile.present:
        raise InvalidInput(f"every cell of the target {name!r} is missing", field="target", value=name)
    doubts = missing_doubts(profile)
    if profile.missing:
        text = f"{profile.missing:,} of {profile.rows:,} rows have no label: they are no examples to learn from"
        doubts.append(Doubt(text, name))
    several = find_several(profile, task, doubts)
    if several is not None:
        return Target("multilabel", several, doubts)
    if profile.shapes or profile.objects or profile.moments:
        raise InvalidInput(f"the target {name!r} holds lists, objects or dates", field="target", value=name)
    numbers = _numbers(profile, decimal)
    share = sum(seen.count for cell, seen in profile.numbers.items() if cell in numbers) / max(
        1, sum(seen.count for seen in profile.values.values())
    )
    if task is None:
        task = _task(profile, numbers, share, doubts)
    if task == "regression":
        return _regression(profile, decimal, share, doubts)
    return _classification(profile, doubts)


def _numbers(profile: ColumnProfile, decimal: DecimalMark) -> dict[Cell, Number]:
    cells = list(profile.numbers)
    values, _ = NumberReader(NumberField(), decimal).many(cells)
    return {cell: value for cell, value in zip(cells, values, strict=True) if value is not None}


def _task(profile: ColumnProfile, numbers: dict[Cell, Number], share: float, doubts: list[Doubt]) -> TaskName:
    name = profile.name
    if profile.padded and not profile.words:
        text = f"labels such as {shown(next(iter(profile.padded)))} begin with a zero: they are taken for classes"
        doubts.append(Doubt(text, name, "--task regression"))
        return "classification"
    if share < MOSTLY:
        if share >= 0.5:
            text = f"{share:.0%} of the labels are numbers, the others words: all are taken for classes"
            doubts.append(Doubt(text, name, "--task regression"))
        return "classification"
    values = set(numbers.values())
    are_whole = all(isinstance(value, int) or value.is_integer() for value in values)
    # Decimals of a whole number, 3.0, are what a column with missing integers becomes.
    if len(values) == 2 and are_whole and profile.present > 2:
        return "classification"
    if not are_whole or len(values) > FEW_NUMBERS or len(values) * MIN_REPEATS > profile.present:
        if 1 < len(values) <= FEW_NUMBERS:
            text = f"{len(values)} different numbers: taken for a quantity, they might be classes"
            doubts.append(Doubt(text, name, "--task classification"))
        return "regression"
    if len(values) > 1:
        text = f"{len(values)} different whole numbers: taken for classes, they might be a quantity"
        doubts.append(Doubt(text, name, "--task regression"))
    return "classification"


def _regression(profile: ColumnProfile, decimal: DecimalMark, share: float, doubts: list[Doubt]) -> Target:
    if share < 0.5:
        word = shown(next(iter(profile.words), next(iter(profile.values))))
        message = (
            f"a regression needs numbers, and {1 - share:.0%} of the target {profile.name!r} are none, such as {word}"
        )
        raise InvalidInput(message, field="target", value=profile.name)
    doubts += number_doubts(profile, decimal)
    doubts += odd_cells(profile, NumberReader(NumberField(), decimal), "number")
    if profile.distinct == 1:
        doubts.append(Doubt(f"every label is {shown(next(iter(profile.values)))}", profile.name))
    return Target("regression", None, doubts)


def _classification(profile: ColumnProfile, doubts: list[Doubt]) -> Target:
    name, counts = profile.name, _classes(profile, doubts)
    if len(counts) == 1:
        doubts.append(Doubt(f"there is one class only: {shown(next(iter(counts)))}", name))
    single = [each for each, count in counts.items() if count == 1]
    if single and profile.present >= 100 and len(counts) <= MAX_LISTED:
        listed = ", ".join(map(shown, single[:5])) + (", …" if len(single) > 5 else "")
        doubts.append(Doubt(f"classes of a single row, perhaps misspelled: {listed}", name))
    if len(counts) <= MAX_LISTED and not profile.is_full:
        return Target("classification", sorted(counts, key=lambda each: (isinstance(each, str), each)), doubts)
    more = "more than " * profile.is_full
    if profile.is_full or len(counts) > profile.present / 2:
        text = f"{more}{len(counts):,} classes in {profile.present:,} rows: is it the right column?"
        doubts.append(Doubt(text, name))
    text = f"{more}{len(counts):,} classes are too many to list: they are `open`, and each label adds its own"
    doubts.append(Doubt(text, name))
    return Target("classification", "open", doubts)


def _classes(profile: ColumnProfile, doubts: list[Doubt]) -> dict[int | str, int]:
    """How many rows each class has: integers where all labels are, else texts, in their most frequent spelling."""
    values = {cell: seen.count for cell, seen in profile.values.items()}
    counts: dict[int | str, int] = defaultdict(int)
    if all(not isinstance(cell, str) or is_integer(cell) or _is_padded_fraction(cell) for cell in values):
        whole = {cell: whole_number(cell) for cell in values}
        if all(number is not None for number in whole.values()):
            for cell, count in values.items():
                number = whole[cell]
                assert number is not None
                counts[number] += count
            return counts
    spellings: dict[str, dict[str, int]] = defaultdict(dict)
    for cell, count in values.items():
        text = str(cell)
        spellings[text.casefold()][text] = count
    for spelled in spellings.values():
        usual = max(spelled, key=lambda each: spelled[each])
        counts[usual] = sum(spelled.values())
        if len(spelled) > 1 and len(spellings) <= MAX_LISTED:
            listed = ", ".join(f"{shown(each)} ({count:,})" for each, count in spelled.items())
            doubts.append(Doubt(f"one class in several spellings: {listed} are {shown(usual)}", profile.name))
    return counts


def _is_padded_fraction(text: str) -> bool:
    """Whether a text is an integer with a fraction of nothing: ``3.0``."""
    whole, point, fraction = text.partition(".")
    return bool(point) and not fraction.strip("0") and is_integer(whole)


def spec_part(target: Target) -> dict[str, Any]:
    """What the target puts into a spec."""
    given = {"classes": target.classes, "outputs": target.outputs, "intervals": target.intervals}
    return {"task": target.task} | {name: value for name, value in given.items() if value is not None}
