"""From a spec to the module that is served and trained."""

from __future__ import annotations

import warnings
from collections import Counter, OrderedDict
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from driftline.errors import InvalidInput
from driftline.networks.functions import allowed, failed
from driftline.networks.layers import Layer
from driftline.networks.modules import AddChannel, RunningScale
from driftline.networks.presets import Preset
from driftline.spec import SINGLE_INPUT, Factory, ModelSpec, TensorSpec


class Served(nn.Module):
    """A model as it is served: the running scale of its inputs, the network, and the output that its task needs.

    ``network`` takes one tensor; or, where it is a user's own and inputs are named, a keyword argument for each. ``experts``
    is what the recipe's strategy serves beside it: rows ``[batch, numbers]`` and the network's log-probabilities ``[batch,
    classes]`` give logits ``[batch, classes]`` and the log-probabilities of all parts ``[batch, parts, classes]``.
    """

    def __init__(
        self, spec: ModelSpec, network: nn.Module, output: nn.Module, experts: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.is_regression = spec.task == "regression"
        self.takes_names = isinstance(spec.inputs, dict) and isinstance(spec.network, Factory)
        floats = {name: tensor for name, tensor in spec.tensors.items() if tensor.dtype == "float32"}
        self.scale = nn.ModuleDict({name: RunningScale(tuple(tensor.shape)) for name, tensor in floats.items()})
        self.target_scale = RunningScale((), limit=float("inf")) if self.is_regression else None
        self.names = list(spec.tensors)
        self.network = network
        self.output = output
        self.experts = experts

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """The network's logits ``[batch, classes]``, or values ``[batch, 1]`` in units of the target's running deviation."""
        return self._network_outputs(self._scaled(inputs))

    def _scaled(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: self.scale[name](inputs[name]) if name in self.scale else inputs[name] for name in self.names}

    def _network_outputs(self, scaled: dict[str, Tensor]) -> Tensor:
        hidden = self.network(**scaled) if self.takes_names else self.network(_joined(scaled))
        result: Tensor = self.output(hidden.flatten(1) if hidden.dim() > 1 else hidden.unsqueeze(1))
        return result

    def predict(self, inputs: dict[str, Tensor]) -> Tensor:
        """Probabilities ``[batch, classes]``, or values ``[batch, 1]`` in the target's own units."""
        return self.answer(inputs)[0]

    def answer(self, inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor | None]:
        """What :meth:`predict` gives; and, where there are experts, the trace of it: the log-probabilities of all parts."""
        scaled = self._scaled(inputs)
        outputs, trace = self._network_outputs(scaled), None
        if self.target_scale is not None:
            return self.target_scale.restore(outputs), None
        if self.experts is not None:
            outputs, trace = self.experts(self.rows(scaled), outputs.log_softmax(1))
        return outputs.softmax(1), trace

    def rows(self, scaled: dict[str, Tensor]) -> Tensor:
        """Scaled inputs as experts take them: ``[batch, numbers]``."""
        return torch.cat([scaled[name].flatten(1).float() for name in self.names], 1)

    def observe(self, inputs: dict[str, Tensor], targets: Tensor) -> None:
        """Lets the running scales follow what is about to be learned."""
        for name, scale in self.scale.items():
            scale.observe(inputs[name])  # type: ignore[operator]
        if self.target_scale is not None:
            self.target_scale.observe(targets)

    def scaled_targets(self, targets: Tensor) -> Tensor:
        """Targets as a loss compares them with :meth:`forward`: class indices stay, values are scaled."""
        return self.target_scale(targets) if self.target_scale is not None else targets


def _joined(inputs: dict[str, Tensor]) -> Tensor:
    if len(inputs) == 1:
        return next(iter(inputs.values()))
    return torch.cat([value.reshape(len(value), -1).float() for value in inputs.values()], dim=1)


def build(
    spec: ModelSpec, classes: Sequence[int | str], *, factories: Collection[str] = (), seed: int | None = None
) -> Served:
    """The module of a spec, with fresh weights.

    Args:
        classes: the classes that it answers, in order; none for a regression.
        factories: the ``module:function`` strings that a spec may name, for its network and its loss.
        seed: makes the weights repeatable, and leaves torch's own generator as it was.

    Raises:
        InvalidInput: it names the layer that cannot take its rows, or what is wrong with a function of the user's own.
    """
    check_loss(spec, factories)
    with _seeded(seed), warnings.catch_warnings():
        # A layer for no class at all has nothing to initialise.
        warnings.filterwarnings("ignore", message="Initializing zero-element tensors")
        network, shape = _network(spec, factories)
        width = 1 if spec.task == "regression" else len(classes)
        output = _output(spec, shape, width)
        return Served(spec, network, output, spec.recipe.strategy.experts(spec, width)).eval()


def check_loss(spec: ModelSpec, factories: Collection[str]) -> None:
    """:class:`InvalidInput` where the loss is a function of the user's own that is not allowed, or not to be had."""
    if spec.loss_function is not None:
        allowed(spec.loss_function, factories, "recipe.loss.function")


@contextmanager
def _seeded(seed: int | None) -> Iterator[None]:
    with torch.random.fork_rng(devices=[], enabled=seed is not None):
        if seed is not None:
            torch.manual_seed(seed)
        yield


def _network(spec: ModelSpec, factories: Collection[str]) -> tuple[nn.Module, tuple[int, ...]]:
    if isinstance(spec.network, Factory):
        module = _made(spec.network, factories)
        return module, _shape_behind_factory(spec, module)
    preset = isinstance(spec.network, Preset)
    layers = spec.network.layers() if isinstance(spec.network, Preset) else spec.network.layers
    tensors = list(spec.tensors.values())
    sole = tensors[0] if len(tensors) == 1 else TensorSpec(shape=[sum(tensor.size for tensor in tensors)])
    return _sequential(layers, sole, "network" if preset else "network.layers")


def _sequential(layers: Sequence[Layer], rows: TensorSpec, path: str) -> tuple[nn.Module, tuple[int, ...]]:
    modules: OrderedDict[str, nn.Module] = OrderedDict()
    example = torch.zeros((1, *rows.shape), dtype=getattr(torch, rows.dtype))
    for index, (name, layer) in enumerate(zip(layer_names(layers), layers, strict=True)):
        if hasattr(nn.Sequential(), name):
            message = f"{path}.{index}.name: {name!r} is a name that torch needs itself; choose another"
            raise InvalidInput(message, field=f"{path}.{index}.name", value=name)
        if layer.type == "conv2d" and example.dim() == 3:
            modules[f"{name}_channel"] = AddChannel()
            example = example.unsqueeze(1)
        try:
            module = layer.build(tuple(example.shape[1:]))
            with torch.no_grad():
                example = module.eval()(example)
        except (ValueError, RuntimeError, IndexError) as error:
            raise InvalidInput(
                f"{path}.{index} ({name}): it cannot take rows of shape {list(example.shape[1:])}: {_last_line(error)}",
                field=f"{path}.{index}",
                value=layer.model_dump(mode="json", exclude_none=True),
            ) from None
        modules[name] = module
    return nn.Sequential(modules), tuple(example.shape[1:])


def layer_names(layers: Sequence[Layer]) -> list[str]:
    """The name of each layer: its own, or its type and a number, from 1 in order of that type."""
    taken = {layer.name for layer in layers}
    counts: Counter[str] = Counter()
    names = []
    for layer in layers:
        name = layer.name
        while name is None:
            counts[layer.type] += 1
            candidate = f"{layer.type}{counts[layer.type]}"
            name = candidate if candidate not in taken else None
        names.append(name)
    return names


def _made(network: Factory, factories: Collection[str]) -> nn.Module:
    function = allowed(network.factory, factories, "network.factory")
    try:
        made = function(**network.arguments)
    except Exception as error:  # A user's own code may raise anything.
        raise _factory_failed(network, error) from error
    if not isinstance(made, nn.Module):
        raise _factory_failed(network, TypeError(f"it gave a {type(made).__name__}, not a torch.nn.Module"))
    return made


def _shape_behind_factory(spec: ModelSpec, module: nn.Module) -> tuple[int, ...]:
    rows = {name: torch.zeros((1, *t.shape), dtype=getattr(torch, t.dtype)) for name, t in spec.tensors.items()}
    try:
        with torch.no_grad():
            hidden = module.eval()(**rows) if isinstance(spec.inputs, dict) else module(rows[SINGLE_INPUT])
        return tuple(hidden.shape[1:])
    except Exception as error:  # A user's own code may raise anything.
        assert isinstance(spec.network, Factory)
        raise _factory_failed(spec.network, error) from error


def _factory_failed(network: Factory, error: Exception) -> InvalidInput:
    return failed(network.factory, error, "network.factory")


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


def _last_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]
