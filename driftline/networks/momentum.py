"""Frozen parameters that a network writes by itself while it is trained, as momentum encoders and code books are."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from driftline.networks import sealed
from driftline.networks.clone import sibling
from driftline.networks.unit_flow import through


class MomentumParameter(nn.Parameter):
    """A parameter that is not trained and is no constant either: each module has its own."""


def writes_constants(module: nn.Module, rows: Mapping[str, Tensor], takes_names: bool) -> bool:
    """Whether a network writes a large frozen parameter as it passes ``rows`` in training.

    Where it does, it has done so: the network is to be made again. So is one that cannot pass the rows, of which nothing is
    known.
    """
    constants = [parameter for parameter in module.parameters() if sealed.is_constant(parameter)]
    if not constants:
        return False
    before = [_checksum(parameter) for parameter in constants]
    copy = sibling(module)
    theirs = [parameter for parameter in copy.parameters() if sealed.is_constant(parameter)]
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            through(copy.train(), {name: torch.cat([value, value]) for name, value in rows.items()}, takes_names)
    except Exception:  # Whatever a user's own network raises: it has shown nothing.
        return True
    # It may write them, or put others in their place.
    return [*map(_checksum, constants)] != before or [*map(_checksum, theirs)] != before


def mark_written(module: nn.Module) -> None:
    """Makes the frozen parameters of a network no constants."""
    for parameter in module.parameters():
        if sealed.is_constant(parameter):
            sealed.unseal(parameter)
            parameter.__class__ = MomentumParameter


def _checksum(tensor: Tensor) -> tuple[int, int]:
    numbers = tensor.detach().reshape(-1).view(torch.uint8)
    whole = numbers[: len(numbers) // 8 * 8].view(torch.int64)
    return int(whole.sum()), int(numbers[-8:].long().sum() + whole[::2].sum())
