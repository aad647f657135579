"""How a module takes its tensors: large ones that nothing will write as they are, all others by copying."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from torch import Tensor, nn

from driftline.networks import row_history, sealed


def set_tensors(module: nn.Module, tensors: Mapping[str, Tensor], *, is_trained: bool = True) -> None:
    """Sets all tensors of a module, as ``load_state_dict`` does.

    Frozen parameters take large tensors as they are, so that modules share them; and where the module is not trained, so do
    all parameters. The tensors are sealed by that.

    Raises:
        RuntimeError: names or shapes are not those of the module.
    """
    has_large = any(tensor.nbytes >= sealed.MIN_CONSTANT_BYTES for tensor in tensors.values())
    shared = dict(_sharing(module, tensors, is_trained)) if has_large else {}
    sealed.own(module, {id(own) for own in shared.values()})
    own = module.state_dict()
    rest = {name: tensor for name, tensor in tensors.items() if name not in shared and not _is_there(own, name, tensor)}
    found = module.load_state_dict(rest, strict=False)
    lacking = [name for name in found.missing_keys if name not in tensors]
    if lacking or found.unexpected_keys:
        raise RuntimeError(f"missing tensors: {lacking}; unknown ones: {found.unexpected_keys}")
    for name in rest:
        row_history.inherit(own[name], tensors[name])
    for name, parameter in shared.items():
        sealed.seal(tensors[name])
        parameter.data = tensors[name]


def _is_there(own: Mapping[str, Tensor], name: str, tensor: Tensor) -> bool:
    """Whether a module has its tensor already, as a table has whose rows were written in place."""
    return name in own and row_history.moment_of(tensor) is not None and own[name].data_ptr() == tensor.data_ptr()


def _sharing(module: nn.Module, tensors: Mapping[str, Tensor], is_trained: bool) -> Iterator[tuple[str, nn.Parameter]]:
    """The parameters that may take a tensor as it is."""
    # Two parameters may be views of one storage: they stay so.
    storages = Counter(
        tensor.untyped_storage().data_ptr()
        for tensor in (*module.parameters(), *module.buffers())
        if not sealed.is_sealed(tensor)
    )
    for path, owner in module.named_modules(remove_duplicate=False):
        if not _loads_as_usual(owner):
            continue
        for own_name, parameter in owner._parameters.items():
            name = f"{path}.{own_name}".removeprefix(".")
            if type(parameter) is not nn.Parameter or name not in tensors or (is_trained and parameter.requires_grad):
                continue
            if storages[parameter.untyped_storage().data_ptr()] <= 1 and _fits(parameter, tensors[name]):
                yield name, parameter


def _fits(parameter: nn.Parameter, tensor: Tensor) -> bool:
    is_alike = (tensor.dtype, tensor.shape, tensor.device) == (parameter.dtype, parameter.shape, parameter.device)
    is_whole = sealed.can_be_blob(tensor) and tensor.untyped_storage().nbytes() == tensor.nbytes
    is_read_only = not tensor.requires_grad and row_history.moment_of(tensor) is None
    return is_alike and is_whole and is_read_only and tensor.nbytes >= sealed.MIN_CONSTANT_BYTES


def _loads_as_usual(module: nn.Module) -> bool:
    """Whether a module does no more with its tensors than copy them."""
    usual = type(module)._load_from_state_dict is nn.Module._load_from_state_dict
    return usual and not module._load_state_dict_pre_hooks
