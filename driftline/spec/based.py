"""A model that begins as another one, its base, and trains adapters on it."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from driftline.spec.model import NAME_PATTERN, ModelSpec
from driftline.spec.parse import Frozen, parse

AS_OF_A_MODEL = "as any model has it; by default as of the base"


class Adaptation(Frozen):
    """What is trained on a base: an adapter of low rank on each layer (LoRA, Hu et al. 2021)."""

    rank: int = Field(8, ge=1, le=10_000, description="the rank of each adapter")
    layers: list[str] | None = Field(
        None, min_length=1, description="which layers have one; else all that can, but for embeddings"
    )
    peft: dict[str, Any] | None = Field(
        None,
        description="instead: what PEFT's `adapter_config.json` holds; its tensors are the weights that come along",
    )

    @model_validator(mode="after")
    def _is_one(self) -> Adaptation:
        if self.peft is not None and self.model_fields_set != {"peft"}:
            raise ValueError("peft says rank and layers: leave these out")
        return self


class Base(Frozen):
    """A model to begin with: its network is frozen, and adapters are trained on it."""

    base: str = Field(pattern=NAME_PATTERN, description="the model")
    version: int | None = Field(None, ge=1, description="which of its versions; by default the live one")
    adapter: Adaptation = Field(Adaptation(), description="what is trained on it")


class BasedSpec(Frozen):
    """What a model on a base is: all that is not said is as of the base."""

    name: str = Field(pattern=NAME_PATTERN, description="what the model goes by")
    network: Base = Field(description="the base, and the adapter on it")
    task: Any = Field(None, description=AS_OF_A_MODEL)
    inputs: Any = Field(None, description="those of the base, if they are said at all")
    classes: Any = Field(None, description=AS_OF_A_MODEL)
    outputs: Any = Field(None, description=AS_OF_A_MODEL)
    intervals: Any = Field(None, description=AS_OF_A_MODEL)
    device: Any = Field(None, description=AS_OF_A_MODEL)
    precision: Any = Field(None, description=AS_OF_A_MODEL)
    compile: Any = Field(None, description=AS_OF_A_MODEL)
    recipe: Any = Field(None, description=AS_OF_A_MODEL)
    serving: Any = Field(None, description=AS_OF_A_MODEL)

    def over(self, base: ModelSpec) -> ModelSpec:
        """The whole spec, whose network is still the base's; :class:`InvalidInput` names what does not fit."""
        said = {name: getattr(self, name) for name in self.model_fields_set - {"network"}}
        if "task" in said and said["task"] != base.task:
            said = {"classes": None, "outputs": None, "intervals": None, "recipe": {}} | said
        return parse(ModelSpec, base.model_dump(mode="json") | said)


def is_based(body: Any) -> bool:
    """Whether this is the spec of a model on a base."""
    network = body.get("network") if isinstance(body, dict) else None
    return isinstance(network, dict) and "base" in network and not {"layers", "preset", "factory"} & network.keys()
