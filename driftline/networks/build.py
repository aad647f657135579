"""From a spec to the module that is served and trained."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor, nn

from driftline.errors import InvalidInput, UserCodeFailed
from driftline.networks.clone import sibling
from driftline.networks.devices import present_device
from driftline.networks.edits import behaviour
from driftline.networks.experts.serving import experts_of, leave_out_missing
from driftline.networks.momentum import mark_written, writes_constants
from driftline.networks.running_prior import with_prior
from driftline.networks.seeded import seeded
from driftline.networks.sequential import layered, network_rows
from driftline.networks.served_model import ServedModel
from driftline.networks.set_tensors import set_tensors
from driftline.networks.structure.module import ModuleStructure
from driftline.networks.tensor_inputs import takes_names
from driftline.networks.unit_flow import through
from driftline.networks.user_code import allowed, named_user_code
from driftline.spec import Factory, ModelSpec
from driftline.spec.parts.presets import Preset


def build(
    spec: ModelSpec, classes: Sequence[int | str], *, factories: Collection[str] = (), seed: int | None = None
) -> ServedModel:
    """The module of a spec, with fresh weights.

    Args:
        classes: the classes that it answers, in order; none for a regression.
        factories: the ``module:function`` strings that a spec may name, for its network and its loss.
        seed: makes the weights repeatable, and leaves torch's own generator as it was.

    Raises:
        InvalidInput: it names the layer that cannot take its rows, what is wrong with a function of the user's own, or a
            device that this machine has not.
    """
    check_loss(spec, factories)
    device = present_device(spec.device) if spec.device is not None else None
    with seeded(seed), warnings.catch_warnings():
        # A layer for no class at all has nothing to initialise.
        warnings.filterwarnings("ignore", message="Initializing zero-element tensors")
        network, shape = _network(spec, factories)
        width = spec.width(len(classes))
        output = _output(spec, shape, width)
        module = ServedModel(spec, network, output, width, experts_of(spec, width)).eval()
        return module if device is None else module.on(device)


def rebuilt(
    spec: ModelSpec,
    classes: Sequence[int | str],
    tensors: Mapping[str, Tensor],
    factories: Collection[str],
    like: ServedModel | None = None,
) -> ServedModel:
    """The module of a spec with the tensors that it had.

    Args:
        like: a module of the same spec; where it has the same tensors a copy of it takes less time and memory than another.
    """
    if like is not None and _shapes(like.state_dict()) == _shapes(tensors):
        module = sibling(like).eval()
    else:
        module = build(spec, classes, factories=factories, seed=0)
        leave_out_missing(module, tensors)
    set_tensors(module, with_prior(module, tensors))
    return module


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in tensors.items()}


def check_loss(spec: ModelSpec, factories: Collection[str]) -> None:
    """:class:`InvalidInput` where the loss is a function of the user's own that is not allowed, or cannot be imported."""
    if spec.loss_function is not None:
        allowed(spec.loss_function, factories, "recipe.loss.function")


def _network(spec: ModelSpec, factories: Collection[str]) -> tuple[nn.Module, tuple[int, ...]]:
    """The network of a spec, and the shape of a row after it."""
    if not isinstance(spec.network, Factory):
        return layered(spec)
    drawn = torch.get_rng_state()
    module = _edited(_made(spec.network, factories), spec)
    rows = network_rows(spec)
    if writes_constants(module, rows, takes_names(spec)):
        torch.set_rng_state(drawn)
        module = _edited(_made(spec.network, factories), spec)
        mark_written(module)
    with named_user_code(spec.network.factory, "network.factory"), torch.no_grad():
        shape = tuple(through(module.eval(), rows, takes_names(spec)).shape)
        if shape[:1] != (1,):
            raise ValueError(
                f"for one row it gives numbers of the shape {list(shape)}, whose first dimension is not that row"
            )
        return module, shape[1:]


def _made(network: Factory, factories: Collection[str]) -> nn.Module:
    function = allowed(network.factory, factories, "network.factory")
    with named_user_code(network.factory, "network.factory"):
        made = function(**network.arguments)
        if not isinstance(made, nn.Module):
            raise TypeError(f"it gave a {type(made).__name__}, not a torch.nn.Module")
        _spread_out(made)
        return made


def _spread_out(module: nn.Module) -> None:
    """Gives each number of every tensor a place of its own: one that is repeated by a view cannot be written to."""
    for part in module.modules():
        for tensor in (*part.parameters(recurse=False), *part.buffers(recurse=False)):
            if any(size > 1 and stride == 0 for size, stride in zip(tensor.shape, tensor.stride(), strict=True)):
                tensor.data = tensor.data.contiguous()


def _edited(module: nn.Module, spec: ModelSpec) -> nn.Module:
    """A factory's module after the structure edits that its spec records."""
    assert isinstance(spec.network, Factory)
    structure = ModuleStructure(module.eval(), network_rows(spec), takes_names(spec))
    for index, edit in enumerate(spec.network.edits):
        field = f"network.edits.{index}"
        try:
            behaviour(edit).restructure(structure)
        except (ValueError, UserCodeFailed) as error:
            raise InvalidInput(f"{field} ({edit.type}): {error}", field=field, value=edit.type) from None
    return structure.network


def _output(spec: ModelSpec, shape: tuple[int, ...], width: int) -> nn.Module:
    size = int(torch.Size(shape).numel())
    if not isinstance(spec.network, Preset) and spec.network.output == "own":
        if size != width:
            raise InvalidInput(
                f"network.output: the network gives {size} numbers where the task needs {width}",
                field="network.output",
                value="own",
            )
        return nn.Identity()
    return nn.Linear(size, width)
