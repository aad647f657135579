"""What a model is asked for, and what follows from it alone: which labels it takes, how wide it answers, what it learns by."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from itertools import pairwise
from typing import Any, ClassVar, Literal, TypeAlias

from driftline.errors import InvalidInput
from driftline.records import Label
from driftline.spec.value_layout import ValueLayout
from driftline.support.json_text import LARGEST_INTEGER, SMALLEST_INTEGER

TaskName: TypeAlias = Literal["classification", "multilabel", "regression"]
Classes: TypeAlias = Sequence[int | str] | Literal["open"] | None
Outputs: TypeAlias = int | Sequence[str] | None
Intervals: TypeAlias = Sequence[float] | None
ClassKeys: TypeAlias = Collection[tuple[type, int | str]] | None
"""Classes by type and name; None where any may come."""
LARGEST_VALUE = 3.4e38
"""Larger ones do not fit float32."""
LARGEST_CLASS = 2**63
"""Integers from here on are no classes: they do not fit what is stored."""


class Task(ABC):
    """A kind of question. It holds no state: there is one object for each.

    ``has_classes``: an answer has a probability for each of some classes. ``is_multilabel``: a row may be of several of them,
    or of none.

    ``measures`` are what answers are scored by: the first decides, the second where that is equal. ``answer_field`` is the
    field of an answer that a label is compared with; ``target_dtype`` is how labels are learned.
    """

    name: ClassVar[TaskName]
    has_classes: ClassVar[bool]
    is_multilabel: ClassVar[bool] = False
    default_loss: ClassVar[str]
    default_strategy: ClassVar[str]
    target_dtype: ClassVar[Literal["int64", "float32"]]
    measures: ClassVar[tuple[str, str]]
    answer_field: ClassVar[str]

    @property
    def has_one_class(self) -> bool:
        """Whether a label is one class."""
        return self.has_classes and not self.is_multilabel

    @abstractmethod
    def check(self, classes: Classes, outputs: Outputs, intervals: Intervals) -> None:
        """:class:`ValueError` where a spec gives ``classes``, ``outputs`` or ``intervals`` that this task does not take."""

    @abstractmethod
    def width(self, classes: int, values: ValueLayout) -> int:
        """How many numbers a network gives for a row, where there are so many classes, or values of this layout."""

    @abstractmethod
    def check_label(self, label: Any, classes: ClassKeys, values: ValueLayout) -> Label:
        """The label as it is learned; :class:`InvalidInput` where it is none.

        Args:
            classes: those that there are, by type and name; None where any may come.
            values: of a regression, the outputs that a label has a number for.
        """


class Classification(Task):
    """Which of several classes a row is of."""

    name = "classification"
    has_classes = True
    default_loss = "cross_entropy"
    default_strategy = "experts"
    target_dtype = "int64"
    measures = ("accuracy", "log_loss")
    answer_field = "label"

    def check(self, classes: Classes, outputs: Outputs, intervals: Intervals) -> None:
        if classes is None:
            raise ValueError('classification needs "classes": a list of strings or integers, or "open"')
        if not classes:
            raise ValueError('"classes" is empty; give at least one, or "open"')
        _check_classes(classes)
        _check_no_values(outputs, intervals)

    def width(self, classes: int, values: ValueLayout) -> int:
        return classes

    def check_label(self, label: Any, classes: ClassKeys, values: ValueLayout) -> Label:
        """Labels match by exact JSON type: ``true`` and ``1.0`` are not class ``1``."""
        if isinstance(label, bool) or not isinstance(label, int | str):
            raise InvalidInput(f"a label is a string or an integer, not {label!r}", field="label", value=label)
        _check_fits(label, "label")
        _check_known(label, classes, "label")
        return label


class Multilabel(Task):
    """Which of several classes a row is of: any number of them, also none."""

    name = "multilabel"
    has_classes = True
    is_multilabel = True
    default_loss = "bce"
    default_strategy = "replay"
    target_dtype = "float32"
    measures = ("hamming_loss", "log_loss")
    answer_field = "labels"

    def check(self, classes: Classes, outputs: Outputs, intervals: Intervals) -> None:
        if not classes or classes == "open":
            raise ValueError('multilabel needs "classes": a list of strings or integers, which cannot be "open"')
        _check_classes(classes)
        _check_no_values(outputs, intervals)

    def width(self, classes: int, values: ValueLayout) -> int:
        return classes

    def check_label(self, label: Any, classes: ClassKeys, values: ValueLayout) -> Label:
        """A list of classes, each once, in any order; they match by exact JSON type."""
        if not isinstance(label, list):
            raise InvalidInput(f"a label is a list of classes, not {label!r}", field="label", value=label)
        seen: set[tuple[type, int | str]] = set()
        for place, name in enumerate(label):
            field = f"label[{place}]"
            if isinstance(name, bool) or not isinstance(name, int | str):
                raise InvalidInput(f"{field}: a class is a string or an integer, not {name!r}", field=field, value=name)
            _check_fits(name, field)
            _check_known(name, classes, field)
            if (type(name), name) in seen:
                raise InvalidInput(f"{field}: the class {name!r} is named twice", field=field, value=name)
            seen.add((type(name), name))
        return list(label)


class Regression(Task):
    """Which number belongs to a row."""

    name = "regression"
    has_classes = False
    default_loss = "huber"
    default_strategy = "experts"
    target_dtype = "float32"
    measures = ("mae", "rmse")
    answer_field = "value"

    def check(self, classes: Classes, outputs: Outputs, intervals: Intervals) -> None:
        if classes is not None:
            raise ValueError('"classes" belongs to classification and multilabel')
        if intervals is not None and any(high <= low for low, high in pairwise(intervals)):
            raise ValueError(f'"intervals" are levels that rise, not {list(intervals)}')
        if outputs is not None and not isinstance(outputs, int) and len(set(outputs)) != len(outputs):
            raise ValueError('"outputs" names an output twice')

    def width(self, classes: int, values: ValueLayout) -> int:
        return values.outputs

    def check_label(self, label: Any, classes: ClassKeys, values: ValueLayout) -> Label:
        """One number; or of several outputs a list of them, in their order, which an object by name is brought into."""
        if not values.has_several:
            return _number(label, "label", "a label of a regression")
        if isinstance(label, dict) and values.names is not None:
            return [
                _number(number, f"label.{name}", f"label.{name}") for name, number in _in_order(label, values.names)
            ]
        if not isinstance(label, list) or len(label) != values.outputs:
            known = "" if values.names is None else f", or an object with {', '.join(values.names)}"
            message = f"a label is a list of {values.outputs} numbers{known}, not {label!r}"
            raise InvalidInput(message, field="label", value=label)
        return [
            _number(number, f"label.{name}", f"label.{name}") for name, number in zip(values.labels, label, strict=True)
        ]


def _check_classes(classes: Sequence[int | str]) -> None:
    if classes != "open" and len(set(map(repr, classes))) != len(classes):
        raise ValueError('"classes" names a class twice')


def _check_no_values(outputs: Outputs, intervals: Intervals) -> None:
    for name, given in (("outputs", outputs), ("intervals", intervals)):
        if given is not None:
            raise ValueError(f'"{name}" belongs to regression')


def _check_fits(name: int | str, field: str) -> None:
    """Refuses an integer that is no number of 64 bits: it could be neither stored nor answered."""
    if isinstance(name, int) and not SMALLEST_INTEGER <= name <= LARGEST_INTEGER:
        raise InvalidInput(f"{field}: the integer {name} has more than 64 bits", field=field, value=str(name))


def _check_known(name: int | str, classes: ClassKeys, field: str) -> None:
    if isinstance(name, int) and not -LARGEST_CLASS <= name < LARGEST_CLASS:
        message = f"{field}: {name} is larger than a class may be, which is a string or an integer of 64 bits"
        raise InvalidInput(message, field=field, value=str(name))
    if classes is not None and (type(name), name) not in classes:
        message = f"{name!r} is none of the model's classes"
        raise InvalidInput(message, code="unknown_class", field=field, value=name)


def _in_order(label: dict[str, Any], names: Sequence[str]) -> list[tuple[str, Any]]:
    """The values of a label by name, in the order of the outputs."""
    for name in label:
        if name not in names:
            message = f"label.{name}: there is no such output; there are {', '.join(names)}"
            raise InvalidInput(message, field=f"label.{name}", value=label[name])
    for name in names:
        if name not in label:
            raise InvalidInput(f"label.{name} is missing; a label has a number for each output", field=f"label.{name}")
    return [(name, label[name]) for name in names]


def _number(value: Any, field: str, what: str) -> float:
    """A finite number that fits float32; else :class:`InvalidInput` tells ``what`` it is of."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    # Of an integer, which may be larger than any float, this cannot be asked.
    if not is_number or (isinstance(value, float) and not math.isfinite(value)):
        raise InvalidInput(f"{what} is a finite number, not {value!r}", field=field, value=value)
    if abs(value) > LARGEST_VALUE:
        raise InvalidInput(f"{field} {value!r} does not fit float32", field=field, value=value)
    return float(value)


TASKS: dict[TaskName, Task] = {task.name: task for task in (Classification(), Multilabel(), Regression())}
