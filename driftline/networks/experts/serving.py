"""Which mixture a module serves beside its network, and how it takes the tensors of one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import Tensor, nn

from driftline.networks.clone import clone
from driftline.networks.experts.mixture import Mixture
from driftline.networks.experts.regression import RegressionMixture
from driftline.networks.rows.encoder import RowEncoder
from driftline.spec import ModelSpec

MAX_FEATURES = 4096
"""Wider rows are left to the network alone."""
EXPERTS = "experts."
"""How the names of a mixture's tensors begin in those of its module."""


def experts_of(spec: ModelSpec, width: int) -> Mixture | RegressionMixture | None:
    """What the spec's strategy serves beside the network; None where it is the network alone.

    Args:
        width: how many classes, or values, are answered.
    """
    tensors = list(spec.network_inputs.values())
    features = sum(tensor.size for tensor in tensors)
    if spec.fields is not None:
        # Trained vectors are the network's alone.
        features = sum(spec.layout.mixture_parts.values())
    if not spec.strategy.serves_experts or features > MAX_FEATURES or spec.sequences:
        return None
    binned, parts = (None, None) if spec.fields is None else (spec.layout.binned, spec.layout.mixture_parts)
    # The numbers of an image or a spectrogram are in one unit; columns of a table are not.
    one_unit = len(tensors) == 1 and len(tensors[0].shape) > 1 and binned is None
    if spec.kind.has_classes:
        return Mixture(features, width, seed=0, one_unit=one_unit, with_network=True, binned=binned, parts=parts)
    return RegressionMixture(features, width, seed=0, one_unit=one_unit, binned=binned, parts=parts)


def has_other_rows(mixture: Mixture | RegressionMixture, spec: ModelSpec) -> bool:
    """Whether the rows of a spec have fields that a mixture does not know."""
    return spec.fields is not None and mixture.parts_of_row != spec.layout.mixture_parts


def continued(mixture: Mixture | RegressionMixture, spec: ModelSpec) -> Mixture | RegressionMixture:
    """A copy of a mixture, for a spec that may have more fields.

    It answers rows without these in the same way; but where a regression's rows become too wide for some of its members, it
    begins again, but for what it knows of labels alone, and answers as the network does until others have shown that they do
    better.
    """
    if not has_other_rows(mixture, spec):
        return clone(mixture)
    wider = experts_of(spec, mixture.classes if isinstance(mixture, Mixture) else mixture.outputs)
    assert wider is not None
    if isinstance(wider, Mixture) and isinstance(mixture, Mixture):
        wider.continue_from(mixture)
    elif isinstance(wider, RegressionMixture) and isinstance(mixture, RegressionMixture):
        if wider.has_members_of(mixture):
            wider.continue_from(mixture)
        else:
            wider.take_labels(mixture)
            wider.rely_on_network()
    return wider


def check_continues(before: ModelSpec, after: ModelSpec) -> None:
    """:class:`ValueError` where the mixture of a spec with more fields is made otherwise, so that it could not go on."""
    own, wider = experts_of(before, 0), experts_of(after, 0)
    if own is not None and (wider is None or wider.encoding.bins != own.encoding.bins):
        raise ValueError(
            f"a mixture of experts that has learned {own.features} features cannot go on with "
            f"{sum(after.layout.mixture_parts.values())}; create a model with these fields and import its history"
        )


def has_experts(tensors: Iterable[str]) -> bool:
    """Whether there is a mixture among a module's tensors, by their names."""
    return any(name.startswith(EXPERTS) for name in tensors)


def leave_out_missing(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Lets a module answer by its network alone where its tensors are of a release whose regressions had no mixture."""
    if isinstance(getattr(module, "experts", None), RegressionMixture) and not has_experts(tensors):
        module.register_module("experts", None)


def with_room(module: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Makes room in mixture and encoder of a module for those of its ``tensors``, and gives all as they can be loaded.

    Where there is none like it in the tensors, they stay as they are.
    """
    found = dict(tensors)
    for name, child in module.named_children():
        prefix = f"{name}."
        own = {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}
        if isinstance(child, Mixture | RowEncoder) and (fitted := child.fitted(own)) is not None:
            found |= {prefix + key: tensor for key, tensor in fitted.items()}
    return found
