"""What a model is: its task, inputs, classes, network and recipe, as types that refuse what they do not know."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Discriminator, Field, StrictInt, StrictStr, Tag, model_validator

from driftline.records import Label
from driftline.settings import DEVICE_PATTERN
from driftline.spec.network import Factory, Network
from driftline.spec.parse import Frozen
from driftline.spec.parts.detectors import DETECTORS
from driftline.spec.parts.fields import FieldsSpec
from driftline.spec.parts.losses import LOSSES, Custom, Loss
from driftline.spec.parts.presets import Preset
from driftline.spec.parts.strategies import STRATEGIES, Strategy
from driftline.spec.recipe import Recipe
from driftline.spec.row_layout import RowLayout, RowTensor
from driftline.spec.task import TASKS, Task, TaskName
from driftline.spec.tensors import TensorSpec, length_name
from driftline.spec.value_layout import ValueLayout

NAME_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,63}$"
SINGLE_INPUT = "inputs"
MAX_STATISTICS = MAX_MARKS = 8
MAX_LEVELS = 20
MAX_OUTPUTS = 1000


def _kind_of_inputs(value: Any) -> str:
    """An object is rows of fields, one tensor, or tensors by name."""
    if isinstance(value, BaseModel):
        return "fields" if isinstance(value, FieldsSpec) else "tensor"
    if isinstance(value, dict):
        for tag, key, kinds in (("fields", "fields", dict), ("tensor", "shape", list)):
            inner = value.get(key)
            # A tensor may itself be named "fields", or "shape".
            if isinstance(inner, kinds) and not (isinstance(inner, dict) and isinstance(inner.get("shape"), list)):
                return tag
        return "named" if value and all(isinstance(each, dict | BaseModel) for each in value.values()) else "tensor"
    return "tensor"


Inputs = Annotated[
    Annotated[FieldsSpec, Tag("fields")]
    | Annotated[TensorSpec, Tag("tensor")]
    | Annotated[dict[Annotated[str, Field(pattern=r"^[a-zA-Z_][a-zA-Z0-9_]{0,63}$")], TensorSpec], Tag("named")],
    Discriminator(_kind_of_inputs),
]


class Serving(Frozen):
    """How a model is served. What is not given is as the operator has set it for all models.

    ``max_batch`` rows are computed at once, ``max_queue`` wait at most. A batch waits ``max_wait`` seconds for more rows; an
    answer is late after ``deadline`` seconds. ``record`` says which predictions are kept for the join with feedback;
    ``sample`` keeps the share ``record_share``.
    """

    max_batch: int | None = Field(None, ge=1, le=65_536, description="rows that are computed at once")
    max_wait: float | None = Field(None, ge=0, le=10, description="seconds that a batch waits for more rows")
    deadline: float | None = Field(None, gt=0, le=3600, description="seconds after which an answer is late")
    max_queue: int | None = Field(None, ge=1, le=1_000_000, description="rows that may wait")
    record: Literal["all", "sample", "none"] | None = Field(
        None, description="which predictions are kept for the join with feedback"
    )
    record_share: float | None = Field(None, ge=0, le=1, description="the share of batches that `sample` keeps")


class ModelSpec(Frozen):
    """What a model is. The smallest has a name, a task, inputs and (for classification) classes."""

    name: str = Field(pattern=NAME_PATTERN, description="what the model goes by")
    task: TaskName = Field(description="what it predicts: one of some classes, several of them, or a number")
    inputs: Inputs = Field(description="rows of named fields, one tensor, or several tensors by name")
    classes: list[StrictInt | StrictStr] | Literal["open"] | None = Field(
        None,
        max_length=100_000,
        description="the classes; `open`: a label never seen before adds one; none for a regression",
    )
    outputs: (
        Annotated[StrictInt, Field(ge=1, le=MAX_OUTPUTS)]
        | Annotated[
            list[Annotated[StrictStr, Field(min_length=1, max_length=100)]], Field(min_length=1, max_length=MAX_OUTPUTS)
        ]
        | None
    ) = Field(None, description="what a regression gives: the names of several numbers, or how many; by default one")
    intervals: list[Annotated[float, Field(gt=0, lt=1)]] | None = Field(
        None,
        min_length=2,
        max_length=MAX_LEVELS,
        exclude_if=lambda levels: levels is None,
        description="the levels of a regression's prediction intervals, as `[0.1, 0.9]`: the share of labels below each end",
    )
    network: Network = Field(default_factory=lambda: Preset(preset="mlp"), description="the architecture")
    device: str | None = Field(
        None,
        pattern=DEVICE_PATTERN,
        exclude_if=lambda value: value is None,
        description="where the network computes: `cpu`, `cuda`, `cuda:1` or `mps`; by default as the operator has set it",
    )
    precision: Literal["float32", "bf16"] = Field(
        "float32",
        exclude_if=lambda value: value == "float32",
        description="`bf16`: what loses nothing by it is computed with numbers of 16 bits (torch's autocast)",
    )
    compile: bool = Field(
        False,
        exclude_if=lambda value: not value,
        description="whether servers answer by a compiled network (torch.compile), which takes a while when one first loads it",
    )
    recipe: Recipe = Field(default_factory=Recipe, description="how it learns")
    serving: Serving = Field(Serving(), description="how it is served")

    @model_validator(mode="before")
    @classmethod
    def _with_sizes(cls, value: Any) -> Any:
        """Writes down how many features an encoded row has, so that they stay as many when classes or fields are added."""
        inputs = value.get("inputs") if isinstance(value, dict) else None
        if not isinstance(inputs, dict) or _kind_of_inputs(inputs) != "fields":
            return value
        classes = value.get("classes")
        outputs = value.get("outputs")
        values = len(outputs) if isinstance(outputs, list) else outputs if isinstance(outputs, int) else 1
        # Of classes one of which a row is, the others tell of the first.
        known = len(classes) - (value.get("task") == "classification") if isinstance(classes, list) else values
        count = MAX_STATISTICS if classes == "open" else known
        kinds = [each.get("type") if isinstance(each, dict) else each for each in inputs["fields"].values()]
        sizes = {
            "statistics": max(1, min(MAX_STATISTICS, count)),
            "marks": max(2, min(MAX_MARKS, 64 // max(1, kinds.count("category")))),
        }
        return value | {"inputs": sizes | inputs}

    @model_validator(mode="after")
    def _fits_its_task(self) -> ModelSpec:
        self.kind.check(self.classes, self.outputs, self.intervals)
        if isinstance(self.inputs, dict) and not self.inputs:
            raise ValueError('"inputs" is empty')
        masks = [tensor.mask_name for tensor in self.sequences.values()]
        if self.sequences and not isinstance(self.network, Factory):
            raise ValueError('rows of any length are for a network of your own: "network": {"factory": …}')
        if len({*masks, *self.given_tensors}) < len(masks) + len(self.given_tensors):
            raise ValueError('each "mask" of "inputs" has a name of its own, which is no input\'s')
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
        if self.recipe.decide != "accuracy" and not self.kind.has_one_class:
            raise ValueError(f'"decide": "{self.recipe.decide}" is for classification, not for {self.task}')
        return self

    def changed(self, **fields: Any) -> ModelSpec:
        """This spec with other ``fields``. (A ``model_copy`` would take along what was worked out from the old ones.)"""
        return ModelSpec(**{name: getattr(self, name) for name in ModelSpec.model_fields} | fields)

    @property
    def kind(self) -> Task:
        """The task, as the object that knows what follows from it."""
        return TASKS[self.task]

    @property
    def fields(self) -> FieldsSpec | None:
        """The fields of a row; None where inputs are tensors."""
        return self.inputs if isinstance(self.inputs, FieldsSpec) else None

    @cached_property
    def layout(self) -> RowLayout:
        """How rows of fields are laid out as tensors; only where there are :attr:`fields`."""
        assert isinstance(self.inputs, FieldsSpec)
        return RowLayout(self.inputs)

    @cached_property
    def tensors(self) -> Mapping[str, RowTensor]:
        """What a module takes, by name: every input, of which a single unnamed one is called ``inputs``, with the lengths of
        sequences; or coded rows."""
        if isinstance(self.inputs, FieldsSpec):
            return self.layout.tensors
        lengths = {length_name(name): RowTensor([], "int64") for name in self.sequences}
        return self._padded | lengths

    @cached_property
    def _padded(self) -> dict[str, RowTensor]:
        return {name: RowTensor(tensor.padded_shape, tensor.dtype) for name, tensor in self.given_tensors.items()}

    @cached_property
    def given_tensors(self) -> Mapping[str, TensorSpec]:
        """Tensors as they are sent, by name; a single unnamed one is called ``inputs``. No rows of fields."""
        if isinstance(self.inputs, FieldsSpec):
            return {}
        return self.inputs if isinstance(self.inputs, dict) else {SINGLE_INPUT: self.inputs}

    @cached_property
    def sequences(self) -> Mapping[str, TensorSpec]:
        """Those of them whose rows have any length."""
        return {name: tensor for name, tensor in self.given_tensors.items() if tensor.is_sequence}

    @cached_property
    def network_inputs(self) -> Mapping[str, RowTensor]:
        """What the network takes, by name: every input, and masks of sequences; or the encoded row, and the tensors in it."""
        if isinstance(self.inputs, FieldsSpec):
            return self.layout.network_inputs
        masks = {tensor.mask_name: RowTensor(tensor.padded_shape[:1], "int64") for tensor in self.sequences.values()}
        return self._padded | masks

    @cached_property
    def loss(self) -> Loss:
        """The recipe's loss, or the task's own."""
        return self.recipe.loss or LOSSES.parse(self.kind.default_loss)

    @cached_property
    def strategy(self) -> Strategy:
        """The recipe's strategy, or the task's own."""
        return self.recipe.strategy or STRATEGIES.parse(self.kind.default_strategy)

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
    def _class_keys(self) -> frozenset[tuple[type, int | str]] | None:
        """The classes that a label may be of, by type and name; None where any may come."""
        return None if self.classes == "open" else frozenset((type(name), name) for name in self.known_classes())

    @cached_property
    def values(self) -> ValueLayout:
        """How the numbers of a regression's answer stand."""
        names = tuple(self.outputs) if isinstance(self.outputs, list) else None
        count = len(self.outputs) if isinstance(self.outputs, list) else self.outputs or 1
        has_several = names is not None or count > 1
        return ValueLayout(count, has_several, names, tuple(self.intervals or ()))

    def width(self, classes: int) -> int:
        """How many numbers the network gives for a row, where there are so many classes."""
        return self.kind.width(classes, self.values)

    @property
    def measures(self) -> tuple[str, str]:
        """What answers are scored by: the first decides."""
        return ("normalized_mae", "coverage") if self.values.has_several else self.kind.measures

    @property
    def answer_field(self) -> str:
        """The field of an answer that a label is compared with."""
        return "values" if self.values.has_several else self.kind.answer_field

    def shown_label(self, label: Label | None) -> Any:
        """A label as the API shows it: of several outputs by name, where they have names."""
        return self.values.by_output(label) if isinstance(label, list) else label

    def check_label(self, label: Any) -> Label:
        """The label as it is learned; :class:`InvalidInput` where it is none of this model's."""
        return self.kind.check_label(label, self._class_keys, self.values)
