"""The optimizer of a recipe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from pydantic import Field, field_validator, model_validator

from driftline.spec.parts.schedules import SCHEDULES, Schedule
from driftline.spec.registry import Part

if TYPE_CHECKING:
    ScheduleField: TypeAlias = Schedule
else:
    ScheduleField = SCHEDULES.field()

HAS_MOMENTUM = {"sgd", "rmsprop"}


class Optimizer(Part):
    """How the weights follow the gradient. ``clip`` bounds the gradient's norm before each update.

    ``layers`` multiplies the rate of layers by name, 0 freezes them; ``discriminative`` lets each earlier layer learn at that
    fraction of the one that follows it (Howard & Ruder 2018).
    """

    name: Literal[
        "adadelta", "adagrad", "adam", "adamax", "adamw", "asgd", "nadam", "radam", "rmsprop", "rprop", "sgd"
    ] = Field("adamw", description="the method, of torch.optim")
    learning_rate: float = Field(0.003, gt=0, le=100, description="the full rate")
    weight_decay: float | None = Field(None, ge=0, le=10, description="the weight decay; else the method's default")
    momentum: float | None = Field(None, ge=0, lt=1, description="the momentum, of methods that have one")
    nesterov: bool = Field(False, description="whether the momentum is Nesterov's")
    clip: float | None = Field(10.0, gt=0, description="the largest norm of the gradient; null: no limit")
    layers: dict[str, Annotated[float, Field(ge=0, le=1000)]] = Field(
        {}, max_length=1000, description="what the rate of a layer is multiplied by, by its name; 0 freezes it"
    )
    discriminative: float | None = Field(
        None, gt=0, le=1, description="the rate of a layer, as a share of the one after it"
    )
    schedule: ScheduleField = Field(
        default_factory=lambda: SCHEDULES.parse("constant"), description="how the rate changes"
    )

    @field_validator("layers", mode="before")
    @classmethod
    def _none_is_no_layer(cls, value: Any) -> Any:
        return {} if value is None else value

    @model_validator(mode="after")
    def _has_its_parameters(self) -> Optimizer:
        if self.momentum is not None and self.name not in HAS_MOMENTUM:
            raise ValueError(f"{self.name} has no momentum; {' and '.join(sorted(HAS_MOMENTUM))} have")
        if self.nesterov and not (self.name == "sgd" and self.momentum):
            raise ValueError("nesterov needs sgd with a momentum; nadam is Adam with it")
        if self.name == "rprop" and (self.weight_decay is not None or self.schedule.name != "constant"):
            raise ValueError("rprop has a rate of its own for each weight: it takes no weight_decay and no schedule")
        return self

    def continues(self, before: Optimizer) -> bool:
        """Whether this one can go on from the state of the one ``before`` it."""
        return self.name == before.name and bool(self.momentum) == bool(before.momentum)
