"""What a model is, as types: no torch, and nothing of how it learns."""

from driftline.spec.model import NAME_PATTERN, SINGLE_INPUT, ModelSpec, Serving
from driftline.spec.network import Factory, Layers, Network
from driftline.spec.parse import Frozen, invalid, parse
from driftline.spec.recipe import Gate, Recipe, Trigger
from driftline.spec.tensors import TensorSpec

__all__ = [
    "NAME_PATTERN",
    "SINGLE_INPUT",
    "Factory",
    "Frozen",
    "Gate",
    "Layers",
    "ModelSpec",
    "Network",
    "Recipe",
    "Serving",
    "TensorSpec",
    "Trigger",
    "invalid",
    "parse",
]
