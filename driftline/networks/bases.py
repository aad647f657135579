"""Models that begin as another one: its weights are frozen and shared, adapters on them are trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from driftline.errors import InvalidInput
from driftline.networks import peft_format
from driftline.networks.adapters import adapter_of, most_rank
from driftline.networks.edit_session import EditSession, Sources
from driftline.networks.edits import apply_all
from driftline.networks.model import Model
from driftline.networks.price import UNLIMITED, ModelBudget
from driftline.spec import ModelSpec
from driftline.spec.based import Adaptation
from driftline.spec.network import Factory, Layers
from driftline.spec.parts.edits import Edit
from driftline.spec.parts.edits.layers import AddAdapters, MergeAdapters

OF_ROWS = ("network.", "scale.", "encoder.", "embeddings.")
"""The tensors that make of a row what the output layer takes."""
OF_ANSWERS = ("output.", "target_scale.", "error_unit", "intervals.")
"""Those that belong to what is answered."""


def adapted(
    base: Model,
    name: str,
    spec: ModelSpec,
    adapter: Adaptation,
    budget: ModelBudget = UNLIMITED,
    brought: Mapping[str, Tensor] | None = None,
) -> tuple[ModelSpec, dict[str, Tensor]]:
    """What a model on a base is, and the tensors that it begins with; all others are fresh.

    Where it answers the same as its base, it begins with the base's answers; else with an output layer of its own.

    Args:
        name: what the base goes by in the spec, as ``bert@3``.
        spec: the model's spec, with the network of the base (:meth:`driftline.spec.based.BasedSpec.over`).
        brought: the tensors of PEFT's file, where the adapter is PEFT's.

    Raises:
        InvalidInput: the base's inputs are others, or no layer of its network can have such an adapter.
    """
    if spec.inputs != base.spec.inputs:
        message = f"inputs: a model on the base {name!r} takes what that takes; leave them out"
        raise InvalidInput(message, field="inputs", value=spec.model_dump(mode="json")["inputs"])
    if adapter.peft is not None:
        rank, paths = peft_format.described(adapter.peft, brought or {})
        adapter = adapter.model_copy(update={"rank": rank, "layers": _names(base, paths)})
    edited = apply_all(_edits(base, adapter), base, Sources(budget=budget)).model
    network = edited.spec.network
    assert isinstance(network, Layers | Factory)
    own = spec.changed(network=network.model_copy(update={"base": name}))
    is_same = own.task == base.spec.task and own.values == base.spec.values and own.known_classes() == base.classes
    taken = OF_ROWS + (OF_ANSWERS if is_same else ())
    tensors = {name: tensor for name, tensor in edited.module.state_dict().items() if name.startswith(taken)}
    if adapter.peft is not None:
        tensors |= peft_format.imported(adapter.peft, brought or {}, edited.module)
    return own, tensors


def _names(base: Model, paths: Sequence[str]) -> list[str]:
    """The names of the layers at some paths of a network."""
    structure = EditSession(base).structure
    names = {structure.path(name): name for name in structure.names}
    # What is no layer by its path may be one by its name, or is told of as unknown.
    return [names.get(path, path) for path in paths]


def _edits(base: Model, adapter: Adaptation) -> list[Edit]:
    """What makes a base the frozen part of another model."""
    structure = EditSession(base).structure
    has_adapters = any(adapter_of(structure.module(name)) is not None for name in structure.names)
    layers = adapter.layers
    if layers is None:
        able = {name: structure.module(name) for name in structure.names if structure.can_adapt(name)}
        # An embedding's has a row for each word, of which a stream teaches few.
        layers = [
            name
            for name, module in able.items()
            if adapter.rank <= most_rank(module) and not isinstance(module, nn.Embedding)
        ]
    if not layers:
        message = f"network.adapter: the base has no layer that can have an adapter of rank {adapter.rank}"
        raise InvalidInput(message, field="network.adapter", value=adapter.rank)
    merged: list[Edit] = [MergeAdapters()] if has_adapters else []
    return [*merged, AddAdapters(rank=adapter.rank, layers=layers, alone=True)]
