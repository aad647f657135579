"""A model in memory."""

from __future__ import annotations

from dataclasses import dataclass

from driftline.networks.served_model import ServedModel
from driftline.spec import ModelSpec


@dataclass(frozen=True)
class Model:
    """A spec, the classes that are answered, in the order of the outputs (none of a regression), and the module."""

    spec: ModelSpec
    classes: list[int | str]
    module: ServedModel
