"""Whether a target says of each row several classes, and which these are."""

from __future__ import annotations

from collections.abc import Mapping

from driftline.errors import InvalidInput
from driftline.spec.task import TaskName
from driftline.tables.cells import Cell, shown
from driftline.tables.class_lists import SeparatedClasses, find_separated, json_list
from driftline.tables.doubt import Doubt
from driftline.tables.labels import is_integer
from driftline.tables.profile import KEPT_TEXT, ColumnProfile

MAX_CLASSES = 1000
"""A table of more classes than these is taken for one of something else."""


def find_several(profile: ColumnProfile, task: TaskName | None, doubts: list[Doubt]) -> list[int | str] | None:
    """The classes of which a row may have several; None where it has one, or a number. ``doubts`` are told what was decided.

    Raises:
        InvalidInput: ``task`` asks for something that the cells are not.
    """
    if task not in (None, "multilabel"):
        return None
    name = profile.name
    if profile.list_cells:
        counts = {cell: seen.count for cell, seen in profile.elements.items()}
        return _of_lists(profile, profile.class_list_cells == profile.list_cells, counts, task, doubts)
    texts = {str(cell): seen.count for cell, seen in profile.values.items()}
    lists = {text: found for text in texts if (found := json_list(text)) is not None}
    # What is cut is a list no more.
    if lists and all(text in lists or len(text) == KEPT_TEXT for text in texts):
        are_classes = all(_is_class(each) for found in lists.values() for each in found)
        counts = {}
        for text, found in lists.items():
            for each in found if are_classes else ():
                counts[each] = counts.get(each, 0) + texts[text]
        return _of_lists(profile, are_classes, counts, task, doubts)
    parted = find_separated(texts, profile.words, KEPT_TEXT)
    if task == "multilabel":
        counts = dict(texts if parted is None else parted.counts)
        if parted is not None:
            doubts.append(Doubt(_parted_text(parted), name))
        return _classes(profile, counts, doubts)
    if parted is None or not parted.are_repeated or len(parted.counts) > MAX_CLASSES:
        return None
    if len(parted.counts) >= len(texts) or not parted.varies:
        # Nothing says that the parts are combined freely: they may be a size and a colour.
        doubts.append(Doubt(f"{_parted_text(parted)}, or is it one class each?", name, "--task multilabel"))
        return None
    none = "; an empty cell is a missing label, and `[]` a row of none of them" if profile.missing else ""
    doubts.append(
        Doubt(f"{_parted_text(parted)}: a row may be of several of them{none}", name, "--task classification")
    )
    return _classes(profile, dict(parted.counts), doubts)


def _of_lists(
    profile: ColumnProfile, are_classes: bool, counts: Mapping[Cell, int], task: TaskName | None, doubts: list[Doubt]
) -> list[int | str] | None:
    name = profile.name
    if not are_classes:
        if task is None:
            return None
        message = f"the target {name!r} holds lists with something else than texts and integers, which are no classes"
        raise InvalidInput(message, field="target", value=name)
    if not counts:
        raise InvalidInput(f"every list of the target {name!r} is empty", field="target", value=name)
    doubts.append(Doubt(f"lists of {len(counts):,} classes: a row may be of several of them", name))
    return _classes(profile, dict(counts), doubts)


def _classes(profile: ColumnProfile, counts: dict[Cell, int], doubts: list[Doubt]) -> list[int | str]:
    """The classes in order: integers where all of them are, else texts."""
    name = profile.name
    if len(counts) > MAX_CLASSES or profile.is_full:
        message = f"the target {name!r} has more than {min(len(counts), MAX_CLASSES):,} classes, which must be listed in a spec"
        raise InvalidInput(message, field="target", value=name)
    rare = [each for each, count in counts.items() if count == 1]
    if rare and profile.present >= 100:
        listed = ", ".join(map(shown, rare[:5])) + (", …" if len(rare) > 5 else "")
        doubts.append(Doubt(f"classes of a single row, perhaps misspelled: {listed}", name))
    if all(is_integer(str(each)) for each in counts) and not _is_typed_text(counts):
        return sorted(int(each) for each in counts)
    return sorted(map(str, counts))


def _is_typed_text(counts: Mapping[Cell, int]) -> bool:
    """Whether one class is given both as a number and as a text: then all are texts."""
    return len({str(each) for each in counts}) < len(counts)


def _is_class(cell: Cell) -> bool:
    return isinstance(cell, str | int) and not isinstance(cell, bool)


def _parted_text(parted: SeparatedClasses) -> str:
    classes = f"{len(parted.counts):,} classes"
    return f"labels such as {shown(parted.shown)} are lists of {classes} with `{parted.separator}` between them"
