"""What a model is asked for, and what follows from it alone: which labels it takes, how wide it answers, what it learns by."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from typing import Any, ClassVar, Literal, TypeAlias

from driftline.errors import InvalidInput
from driftline.records import Label

TaskName: TypeAlias = Literal["classification", "regression"]
LARGEST_VALUE = 3.4e38
"""Larger ones do not fit float32."""


class Task(ABC):
    """A kind of question. It holds no state: there is one object for each.

    ``measures`` are what answers are scored by: the first decides, the second where that is equal. ``answer_field`` is the
    field of an answer that a label is compared with; ``target_dtype`` is how labels are learned.
    """

    name: ClassVar[TaskName]
    has_classes: ClassVar[bool]
    default_loss: ClassVar[str]
    default_strategy: ClassVar[str]
    target_dtype: ClassVar[Literal["int64", "float32"]]
    measures: ClassVar[tuple[str, str]]
    answer_field: ClassVar[str]

    @abstractmethod
    def check(self, classes: Sequence[int | str] | Literal["open"] | None, outputs: int | None) -> None:
        """:class:`ValueError` where a spec gives ``classes`` or ``outputs`` that this task does not take."""

    @abstractmethod
    def width(self, classes: int) -> int:
        """How many numbers a network gives for a row, where there are so many classes."""

    @abstractmethod
    def check_label(self, label: Any, classes: Collection[tuple[type, int | str]] | None) -> Label:
        """The label as it is learned; :class:`InvalidInput` where it is none.

        Args:
            classes: those that there are, by type and name; None where any may come.
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

    def check(self, classes: Sequence[int | str] | Literal["open"] | None, outputs: int | None) -> None:
        if classes is None:
            raise ValueError('classification needs "classes": a list of strings or integers, or "open"')
        if classes != "open":
            if not classes:
                raise ValueError('"classes" is empty; give at least one, or "open"')
            if len(set(map(repr, classes))) != len(classes):
                raise ValueError('"classes" names a class twice')
        if outputs is not None:
            raise ValueError('"outputs" belongs to regression')

    def width(self, classes: int) -> int:
        return classes

    def check_label(self, label: Any, classes: Collection[tuple[type, int | str]] | None) -> Label:
        """Labels match by exact JSON type: ``true`` and ``1.0`` are not class ``1``."""
        if isinstance(label, bool) or not isinstance(label, int | str):
            raise InvalidInput(f"a label is a string or an integer, not {label!r}", field="label", value=label)
        if classes is not None and (type(label), label) not in classes:
            raise InvalidInput(
                f"{label!r} is none of the model's classes", code="unknown_class", field="label", value=label
            )
        return label


class Regression(Task):
    """Which number belongs to a row."""

    name = "regression"
    has_classes = False
    default_loss = "huber"
    default_strategy = "experts"
    target_dtype = "float32"
    measures = ("mae", "rmse")
    answer_field = "value"

    def check(self, classes: Sequence[int | str] | Literal["open"] | None, outputs: int | None) -> None:
        if classes is not None:
            raise ValueError('"classes" belongs to classification')

    def width(self, classes: int) -> int:
        return 1

    def check_label(self, label: Any, classes: Collection[tuple[type, int | str]] | None) -> Label:
        if isinstance(label, bool) or not isinstance(label, int | float) or not math.isfinite(label):
            raise InvalidInput(f"a label of a regression is a finite number, not {label!r}", field="label", value=label)
        if abs(label) > LARGEST_VALUE:
            raise InvalidInput(f"label {label!r} does not fit float32", field="label", value=label)
        return float(label)


TASKS: dict[TaskName, Task] = {task.name: task for task in (Classification(), Regression())}
