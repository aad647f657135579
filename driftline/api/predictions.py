"""Messages of predict."""

from __future__ import annotations

from typing import Annotated, Any, NotRequired, TypeAlias

from pydantic import Field
from typing_extensions import TypedDict

from driftline.api.message import closed, message

Values: TypeAlias = dict[str, float] | list[float]
Ends: TypeAlias = list[float] | None
Interval: TypeAlias = dict[str, Ends] | list[Ends] | Ends


@closed
class PredictBody(TypedDict):
    """Rows to answer."""

    inputs: Any
    """Rows of numbers in the spec's shape, ``[rows, *shape]``; where inputs are named, such columns by name."""
    keys: NotRequired[list[Annotated[str, Field(min_length=1, max_length=200)] | None] | None]
    """Your own name of each row, one a row, to which its label can refer as ``key``; null for a row without one."""


@message
class PredictQuery(TypedDict, total=False):
    """Which version answers."""

    version: Annotated[int, Field(ge=1)]
    """A kept version; else the live one answers, or the canary."""


@closed
class Prediction(TypedDict):
    """One row's answer. Classification has ``label`` and ``probabilities``, multilabel ``labels`` and ``probabilities``,
    regression ``value`` or ``values``, and maybe ``interval``.
    """

    id: str | None
    """What a label refers to as ``prediction_id``; null where predictions are not recorded."""
    label: NotRequired[int | str | None]
    """The most probable class; null while there is no class."""
    labels: NotRequired[list[int | str]]
    """Of a multi-label model the classes whose probability is .5 or more, in the order of ``classes``."""
    probabilities: NotRequired[list[float]]
    """The probability of each class, in the order of ``classes``."""
    value: NotRequired[float]
    """The answer of a regression."""
    values: NotRequired[Values]
    """The answer of a regression with several outputs: by name, or a list where the spec gives but their number."""
    interval: NotRequired[Interval]
    """Where the spec has ``intervals``: the ends at its levels, in their order; null while too few labels are known. Of several
    outputs one for each, as in ``values``."""


@closed
class Predictions(TypedDict):
    """The answer to predict."""

    model: str
    """The model's name."""
    version: Annotated[int, Field(ge=1)]
    """The version that answered all rows."""
    classes: NotRequired[list[int | str]]
    """The classes that ``probabilities`` follow; not of a regression."""
    predictions: list[Prediction]
    """An answer for each row, in order."""
