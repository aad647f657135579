"""What edits are checked by."""

from __future__ import annotations

import torch

from driftline.networks.build import build
from driftline.networks.edit_session import EditResult
from driftline.networks.model import Model
from driftline.networks.served_model import ServedModel
from driftline.spec import ModelSpec, parse

FACTORY = "tests.networks.factories:convolved"


def rows(edited: Model | EditResult) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn((5, *tensor.shape), generator=generator) for name, tensor in edited.spec.tensors.items()}


@torch.no_grad()
def disturb(module: ServedModel) -> None:
    generator = torch.Generator().manual_seed(1)
    for name, value in module.state_dict().items():
        if value.dim() and name.startswith(("network.", "output.")):
            noise = torch.rand(value.shape, generator=generator)
            value.add_(noise if name.endswith("running_var") else 0.4 * (noise - 0.5))


def check_spec(after: EditResult) -> None:
    """The spec, read again, builds the module."""
    read = parse(ModelSpec, after.spec.model_dump(mode="json"))
    assert read == after.spec
    rebuilt = build(read, after.classes, factories=[FACTORY], seed=7)
    shapes, made = ({name: v.shape for name, v in m.state_dict().items()} for m in (rebuilt, after.module))
    assert list(shapes.items()) == list(made.items())
    trained, said = ({name: p.requires_grad for name, p in m.named_parameters()} for m in (rebuilt, after.module))
    assert trained == said
    rebuilt.load_state_dict(after.module.state_dict())
    assert torch.equal(rebuilt(rows(after)), after.module(rows(after)))


def check_function(before: Model, after: EditResult) -> None:
    outputs, earlier = after.module(rows(after)), before.module(rows(before))
    assert torch.isfinite(outputs).all()
    if after.keeps_function:
        assert torch.allclose(outputs[:, : earlier.shape[1]], earlier, atol=1e-5, rtol=1e-5)
