"""What a model is: its task, inputs, classes, network and recipe, as types that refuse what they do not know."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    StrictInt,
    StrictStr,
    Tag,
    ValidationError,
    model_validator,
)

from driftline.errors import InvalidInput
from driftline.learning.monitoring.drift import DETECTORS, Detector
from driftline.learning.monitoring.drift.inputs import InputDetector
from driftline.learning.replay.policies import REPLAY_POLICIES, ReplayPolicy
from driftline.learning.training.averaging import AVERAGINGS, Averaging
from driftline.learning.training.distillation import Distillation
from driftline.learning.training.hooks import WeightHook
from driftline.learning.training.hooks.l2_sp import L2SP
from driftline.learning.training.hooks.max_norm import MaxNorm
from driftline.learning.training.hooks.refresh import Refresh
from driftline.learning.training.hooks.sanitize import Repair
from driftline.learning.training.hooks.shrink_and_perturb import ShrinkAndPerturbOnAlarm
from driftline.learning.training.losses import LOSSES, Loss
from driftline.learning.training.losses.custom import Custom
from driftline.learning.training.optimizers import Optimizer
from driftline.learning.training.strategies import STRATEGIES, Strategy
from driftline.networks.edits import EDITS, Edit
from driftline.networks.layers import LAYERS, Layer
from driftline.networks.presets import Preset
from driftline.networks.user_code import FUNCTION_PATTERN
from driftline.records import Label

NAME_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,63}$"
SINGLE_INPUT = "inputs"

if TYPE_CHECKING:
    AveragingField: TypeAlias = Averaging
    DetectorField: TypeAlias = Detector
    EditField: TypeAlias = Edit
    LayerField: TypeAlias = Layer
    LossField: TypeAlias = Loss
    MemoryField: TypeAlias = ReplayPolicy
    StrategyField: TypeAlias = Strategy
else:
    AveragingField, DetectorField = AVERAGINGS.field(), DETECTORS.field()
    EditField, LayerField = EDITS.field(), LAYERS.field()
    LossField, MemoryField, StrategyField = LOSSES.field(), REPLAY_POLICIES.field(), STRATEGIES.field()


class Frozen(BaseModel):
    """A value: no unknown fields, no change after it is made."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class TensorSpec(Frozen):
    """One input tensor: the shape of a row, without the batch."""

    shape: list[Annotated[StrictInt, Field(ge=1)]] = Field(max_length=6)
    dtype: Literal["float32", "int64"] = "float32"

    @property
    def size(self) -> int:
        """Numbers in one row."""
        return math.prod(self.shape)


class Layers(Frozen):
    """A network given layer by layer. ``output``: ``task`` appends the layer that the task needs, ``own`` does not.

    ``branches`` are layers beside these, on the same rows; the output takes what all of them give.
    """

    layers: list[LayerField] = Field(max_length=1000)
    branches: dict[Annotated[str, Field(pattern=r"^branch[1-9]\d{0,3}$")], list[LayerField]] = {}
    output: Literal["task", "own"] = "task"

    @model_validator(mode="after")
    def _names_are_unique(self) -> Layers:
        for layers in (self.layers, *self.branches.values()):
            names = [layer.name for layer in layers if layer.name]
            for name in names:
                if names.count(name) > 1:
                    raise ValueError(f"two layers are named {name!r}")
        return self


class Factory(Frozen):
    """A user's own ``nn.Module``: ``package.module:function``, called with ``arguments``, and the ``edits`` made since."""

    factory: str = Field(pattern=FUNCTION_PATTERN)
    arguments: dict[str, Any] = {}
    edits: list[EditField] = []
    output: Literal["task", "own"] = "task"


def _kind_of_network(value: Any) -> str | None:
    keys = value if isinstance(value, dict) else type(value).model_fields if isinstance(value, BaseModel) else {}
    return next((key for key in ("layers", "preset", "factory") if key in keys), None)


Network = Annotated[
    Annotated[Layers, Tag("layers")] | Annotated[Preset, Tag("preset")] | Annotated[Factory, Tag("factory")],
    Discriminator(
        _kind_of_network,
        custom_error_type="network",
        custom_error_message='a network has "layers", "preset" or "factory"',
    ),
]


class Trigger(Frozen):
    """When waiting labels are learned: at so many, or once the oldest has waited so long (seconds).

    Behind an alarm that is answered with ``faster``, so many labels as ``alarm`` says are learned as they come.
    """

    labels: int = Field(32, ge=1, le=1_000_000)
    seconds: float = Field(0.1, ge=0, le=86_400)
    alarm: int = Field(512, ge=0, le=1_000_000)


class Gate(Frozen):
    """What a candidate must pass.

    ``auto`` compares it with the champion; ``manual`` waits for an admin to promote it; ``canary`` lets it answer the ``share``
    of the traffic, until ``labels`` of its answers have been labelled; ``off`` promotes every finite one. ``holdout`` is the
    share of records kept from training for the comparison, ``holdout_size`` how many are kept at most.
    """

    mode: Literal["auto", "manual", "canary", "off"] = "auto"
    holdout: float = Field(0.05, ge=0, le=0.5)
    holdout_size: int = Field(500, ge=0, le=100_000)
    share: float = Field(0.1, gt=0, le=0.5)
    labels: int = Field(100, ge=10, le=100_000)


class Serving(Frozen):
    """How a model is served. What is not given is as the operator has set it for all models.

    ``max_batch`` rows are computed at once, ``max_queue`` wait at most. A batch waits ``max_wait`` seconds for more rows; an
    answer is late after ``deadline`` seconds. ``record`` says which predictions are kept for the join with feedback;
    ``sample`` keeps the share ``record_share``.
    """

    max_batch: int | None = Field(None, ge=1, le=65_536)
    max_wait: float | None = Field(None, ge=0, le=10)
    deadline: float | None = Field(None, gt=0, le=3600)
    max_queue: int | None = Field(None, ge=1, le=1_000_000)
    record: Literal["all", "sample", "none"] | None = None
    record_share: float | None = Field(None, ge=0, le=1)


class Recipe(Frozen):
    """How a model learns.

    ``updates`` is how many gradient updates a full step makes when nothing is waiting, and a smaller one its share; with a
    backlog a step makes one.

    ``on_alarm`` is what follows a drift alarm beside telling it: ``faster`` learns the next labels as they come, ``shorten``
    keeps in memory only what has come since the change, ``retrain`` begins a job over that.
    """

    strategy: StrategyField | None = Field(None, description="default: experts, for regression replay")
    loss: LossField | None = Field(None, description="default: cross_entropy, for regression huber")
    distillation: Distillation | None = None
    optimizer: Optimizer = Optimizer()
    batch_size: int = Field(32, ge=1, le=4096)
    updates: int = Field(4, ge=1, le=1000)
    memory: MemoryField = Field(default_factory=lambda: REPLAY_POLICIES.parse({}))
    trigger: Trigger = Trigger()
    detector: DetectorField = Field(default_factory=lambda: DETECTORS.parse("adwin"))
    input_detector: InputDetector | None = InputDetector()
    on_alarm: Literal["tell", "faster", "shorten", "retrain"] = "faster"
    gate: Gate = Gate()
    averaging: AveragingField | None = None
    l2_sp: L2SP | None = None
    max_norm: MaxNorm | None = None
    refresh: Refresh | None = None
    shrink_and_perturb: ShrinkAndPerturbOnAlarm | None = None
    sanitize: Literal["refuse", "repair"] = "refuse"

    @property
    def rules(self) -> list[WeightHook]:
        """What happens to the weights beside the gradient, in this order: a mean is of weights that all else has changed."""
        repair = Repair() if self.sanitize == "repair" else None
        given = (self.l2_sp, self.shrink_and_perturb, self.refresh, self.max_norm, repair, self.averaging)
        return [rule for rule in given if rule is not None]

    def reclassed(self, indices: Sequence[int | None]) -> Recipe:
        """This recipe for classes with other indices (:func:`driftline.classes.class_indices`)."""
        loss = self.loss.reclassed(indices) if self.loss is not None else None
        return self if loss == self.loss else self.model_copy(update={"loss": loss})


class ModelSpec(Frozen):
    """What a model is. The smallest has a name, a task, inputs and (for classification) classes."""

    name: str = Field(pattern=NAME_PATTERN)
    task: Literal["classification", "regression"]
    inputs: TensorSpec | dict[Annotated[str, Field(pattern=r"^[a-zA-Z_][a-zA-Z0-9_]{0,63}$")], TensorSpec]
    classes: list[StrictInt | StrictStr] | Literal["open"] | None = Field(None, max_length=100_000)
    outputs: Literal[1] | None = None
    network: Network = Field(default_factory=lambda: Preset(preset="mlp"))
    recipe: Recipe = Field(default_factory=Recipe)
    serving: Serving = Serving()

    @model_validator(mode="after")
    def _fits_its_task(self) -> ModelSpec:
        if self.task == "classification":
            if self.classes is None:
                raise ValueError('classification needs "classes": a list of strings or integers, or "open"')
            if isinstance(self.classes, list):
                if not self.classes:
                    raise ValueError('"classes" is empty; give at least one, or "open"')
                if len(set(map(repr, self.classes))) != len(self.classes):
                    raise ValueError('"classes" names a class twice')
            if self.outputs is not None:
                raise ValueError('"outputs" belongs to regression')
        elif self.classes is not None:
            raise ValueError('"classes" belongs to classification')
        if isinstance(self.inputs, dict) and not self.inputs:
            raise ValueError('"inputs" is empty')
        if self.task not in self.loss.tasks:
            raise ValueError(f"the loss {self.loss.name} is not for {self.task}")
        if self.task not in self.strategy.tasks:
            raise ValueError(f"the strategy {self.strategy.name} is not for {self.task}")
        if self.task not in self.recipe.detector.tasks:
            fitting = ", ".join(name for name, part in DETECTORS.parts.items() if self.task in part.tasks)
            raise ValueError(
                f"the detector {self.recipe.detector.name} takes errors of 0 and 1, and those of a {self.task} are numbers; "
                f"it can have: {fitting}"
            )
        self.loss.check(len(self.classes) if isinstance(self.classes, list) else None)
        return self

    def changed(self, **fields: Any) -> ModelSpec:
        """This spec with other ``fields``. (A ``model_copy`` would take along what was worked out from the old ones.)"""
        return ModelSpec(**{name: getattr(self, name) for name in ModelSpec.model_fields} | fields)

    @cached_property
    def tensors(self) -> dict[str, TensorSpec]:
        """Every input by its name; a single unnamed one is called ``inputs``."""
        return self.inputs if isinstance(self.inputs, dict) else {SINGLE_INPUT: self.inputs}

    @cached_property
    def loss(self) -> Loss:
        """The recipe's loss, or the task's own."""
        default = "cross_entropy" if self.task == "classification" else "huber"
        return self.recipe.loss or LOSSES.parse(default)

    @cached_property
    def strategy(self) -> Strategy:
        """The recipe's strategy, or the task's own."""
        default = "experts" if self.task == "classification" else "replay"
        return self.recipe.strategy or STRATEGIES.parse(default)

    @property
    def loss_function(self) -> str | None:
        """The function of the user's own that is the loss; None where the loss is one of ours."""
        return self.loss.function if isinstance(self.loss, Custom) else None

    def known_classes(self) -> list[int | str]:
        """The classes the spec names; none yet for ``open`` and for a regression."""
        return list(self.classes) if isinstance(self.classes, list) else []

    @cached_property
    def has_integer_classes(self) -> bool:
        """Whether every class is an integer, for good."""
        return isinstance(self.classes, list) and all(isinstance(name, int) for name in self.classes)

    @cached_property
    def _class_keys(self) -> frozenset[tuple[type, int | str]]:
        return frozenset((type(name), name) for name in self.known_classes())

    def check_label(self, label: Any) -> Label:
        """The label as it is learned; :class:`InvalidInput` where it is none of this model's.

        Labels match by exact JSON type: ``true`` and ``1.0`` are not class ``1``.
        """
        if self.task == "regression":
            if isinstance(label, bool) or not isinstance(label, int | float) or not math.isfinite(label):
                raise InvalidInput(
                    f"a label of a regression is a finite number, not {label!r}", field="label", value=label
                )
            if abs(label) > 3.4e38:
                raise InvalidInput(f"label {label!r} does not fit float32", field="label", value=label)
            return float(label)
        if isinstance(label, bool) or not isinstance(label, int | str):
            raise InvalidInput(f"a label is a string or an integer, not {label!r}", field="label", value=label)
        if self.classes != "open" and (type(label), label) not in self._class_keys:
            raise InvalidInput(
                f"{label!r} is none of the model's classes", code="unknown_class", field="label", value=label
            )
        return label


T = TypeVar("T", bound=BaseModel)


def parse(kind: type[T], value: Any) -> T:
    """``value`` as a ``kind``; :class:`InvalidInput` that names the first field that does not fit, and its value."""
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        raise invalid(error, value) from None


def invalid(error: ValidationError, value: Any) -> InvalidInput:
    """A pydantic error over ``value`` in Driftline's words."""
    first = error.errors(include_url=False, include_context=False)[0]
    field = ".".join(_path(first["loc"], value, first["type"] == "missing"))
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "missing":
        return InvalidInput(f"{field}: it is missing", field=field)
    if not field:
        return InvalidInput(message, field="")
    return InvalidInput(
        f"{field}: {message[:1].lower()}{message[1:]}, not {_short(first['input'])}", field=field, value=first["input"]
    )


def _path(location: tuple[int | str, ...], value: Any, is_missing: bool) -> Iterator[str]:
    """A location without the names that pydantic gives to the members of a union."""
    for index, part in enumerate(location):
        is_last = index == len(location) - 1
        if isinstance(value, list) and isinstance(part, int):
            value = value[part]
        elif isinstance(value, dict) and (part in value or (is_last and is_missing)):
            value = value.get(part)
        else:
            continue
        yield str(part)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 100 else text[:97] + "…"
