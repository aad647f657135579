"""From a spec to the module that is served and trained."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from driftline.errors import InvalidInput
from driftline.networks.experts.encoding import LARGEST
from driftline.networks.experts.mixture import experts_of
from driftline.networks.modules import Branched, RunningScale, joined
from driftline.networks.presets import Preset
from driftline.networks.sequential import sequential
from driftline.networks.structure import ModuleStructure
from driftline.networks.user_code import allowed, failed
from driftline.spec import SINGLE_INPUT, Factory, Layers, ModelSpec

MOST_TRACED = 4096
"""A trace of more numbers than this is not worth its place beside each prediction."""


class ServedModel(nn.Module):
    """A model as it is served: the running scale of its inputs, the network, and the output that its task needs.

    ``network`` takes one tensor; or, where it is a user's own and inputs are named, a keyword argument for each. ``experts``
    is what the recipe's strategy serves beside it: rows ``[batch, numbers]`` and the network's log-probabilities ``[batch,
    classes]`` give logits ``[batch, classes]`` and the log-probabilities of all parts ``[batch, parts, classes]``.
    """

    def __init__(
        self, spec: ModelSpec, network: nn.Module, output: nn.Module, width: int, experts: nn.Module | None = None
    ) -> None:
        super().__init__()
        self._own_width = width
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
        hidden = self.network(**scaled) if self.takes_names else self.network(joined(scaled))
        result: Tensor = self.output(hidden.flatten(1) if hidden.dim() > 1 else hidden.unsqueeze(1))
        return result

    def predict(self, inputs: dict[str, Tensor], in_order: bool = True) -> Tensor:
        """Probabilities ``[batch, classes]``, or values ``[batch, 1]`` in the target's own units.

        ``in_order``: the rows come behind the newest label that was learned, as all do that are served; not from before it.
        """
        return self.traced(inputs, in_order)[0]

    def answer(self, inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor | None]:
        """What :meth:`predict` gives; and, where there are experts, the trace of it, unless it would be large."""
        outputs, trace = self.traced(inputs)
        return outputs, trace if trace is not None and trace[:1].numel() <= MOST_TRACED else None

    def traced(self, inputs: dict[str, Tensor], in_order: bool = True) -> tuple[Tensor, Tensor | None]:
        """What :meth:`predict` gives; and, where there are experts, the log-probabilities of all parts."""
        outputs, trace = self._network_outputs(self._scaled(inputs)), None
        if self.target_scale is not None:
            return self.target_scale.restore(outputs), None
        if self.experts is not None:
            outputs, trace = self.experts(self.rows(inputs), outputs.log_softmax(1), in_order)
        return outputs.softmax(1), trace

    def rows(self, inputs: dict[str, Tensor]) -> Tensor:
        """Inputs as experts take them, as they came: ``[batch, numbers]``."""
        rows = [inputs[name].reshape(len(inputs[name]), -1).float() for name in self.names]
        return (rows[0] if len(rows) == 1 else torch.cat(rows, 1)).clamp(-LARGEST, LARGEST)

    @property
    def width(self) -> int:
        """How many numbers are answered: as many as there are classes, or one value."""
        # A network with an output of its own never takes more classes than it was made for.
        return int(getattr(self.output, "out_features", self._own_width))

    def observe(self, inputs: dict[str, Tensor], targets: Tensor) -> None:
        """Lets the running scales follow what is about to be learned."""
        for name, scale in self.scale.items():
            scale.observe(inputs[name])  # type: ignore[operator]
        if self.target_scale is not None:
            self.target_scale.observe(targets)

    def scaled_targets(self, targets: Tensor) -> Tensor:
        """Targets as a loss compares them with :meth:`forward`: class indices stay, values are scaled."""
        return self.target_scale(targets) if self.target_scale is not None else targets


def evaluating(module: ServedModel) -> ServedModel:
    """The module in evaluation mode. (To set a mode that is set already costs as much as a small answer.)"""
    return module.eval() if module.training else module


def build(
    spec: ModelSpec, classes: Sequence[int | str], *, factories: Collection[str] = (), seed: int | None = None
) -> ServedModel:
    """The module of a spec, with fresh weights.

    Args:
        classes: the classes that it answers, in order; none for a regression.
        factories: the ``module:function`` strings that a spec may name, for its network and its loss.
        seed: makes the weights repeatable, and leaves torch's own generator as it was.

    Raises:
        InvalidInput: it names the layer that cannot take its rows, or what is wrong with a function of the user's own.
    """
    check_loss(spec, factories)
    with seeded(seed), warnings.catch_warnings():
        # A layer for no class at all has nothing to initialise.
        warnings.filterwarnings("ignore", message="Initializing zero-element tensors")
        network, shape = _network(spec, factories)
        width = 1 if spec.task == "regression" else len(classes)
        output = _output(spec, shape, width)
        return ServedModel(spec, network, output, width, experts_of(spec, width)).eval()


def rebuilt(
    spec: ModelSpec, classes: Sequence[int | str], tensors: Mapping[str, Tensor], factories: Collection[str]
) -> ServedModel:
    """The module of a spec with the tensors that it had."""
    module = build(spec, classes, factories=factories, seed=0)
    module.load_state_dict(dict(tensors))
    return module


def check_loss(spec: ModelSpec, factories: Collection[str]) -> None:
    """:class:`InvalidInput` where the loss is a function of the user's own that is not allowed, or not to be had."""
    if spec.loss_function is not None:
        allowed(spec.loss_function, factories, "recipe.loss.function")


@contextmanager
def seeded(seed: int | None) -> Iterator[None]:
    """Lets torch draw from ``seed``, and leaves its generator as it was; None draws from that."""
    with torch.random.fork_rng(devices=[], enabled=seed is not None):
        if seed is not None:
            torch.manual_seed(seed)
        yield


def _network(spec: ModelSpec, factories: Collection[str]) -> tuple[nn.Module, tuple[int, ...]]:
    if isinstance(spec.network, Factory):
        module = _edited(_made(spec.network, factories), spec)
        return module, _shape_behind_factory(spec, module)
    return layered(spec)


def layered(spec: ModelSpec) -> tuple[nn.Module, tuple[int, ...]]:
    """The network of a spec that gives layers or a preset, with fresh weights, and the shape of a row behind it."""
    network, path = spec.network, "network.layers"
    if isinstance(network, Preset):
        network, path = Layers(layers=network.layers()), "network"
    assert isinstance(network, Layers)
    rows = joined(example_rows(spec))
    main, shape = sequential(network.layers, rows, path)
    if not network.branches:
        return main, shape
    built = {name: sequential(layers, rows, f"network.branches.{name}") for name, layers in network.branches.items()}
    width = sum(int(torch.Size(size).numel()) for size in (shape, *(size for _, size in built.values())))
    return Branched(main, {name: branch for name, (branch, _) in built.items()}), (width,)


def example_rows(spec: ModelSpec) -> dict[str, Tensor]:
    """One row of zeros ``[1, *shape]`` for each input."""
    return {name: torch.zeros((1, *t.shape), dtype=getattr(torch, t.dtype)) for name, t in spec.tensors.items()}


def _edited(module: nn.Module, spec: ModelSpec) -> nn.Module:
    """A factory's module behind the structure edits that its spec records."""
    assert isinstance(spec.network, Factory)
    structure = ModuleStructure(module.eval(), example_rows(spec), isinstance(spec.inputs, dict))
    for index, edit in enumerate(spec.network.edits):
        field = f"network.edits.{index}"
        try:
            edit.restructure(structure)
        except ValueError as error:
            raise InvalidInput(f"{field} ({edit.type}): {error}", field=field, value=edit.type) from None
    return structure.network


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
    rows = example_rows(spec)
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
