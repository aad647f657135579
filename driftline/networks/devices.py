"""Where a network computes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from driftline.errors import InvalidInput
from driftline.support.devices import missing_device


def present_device(name: str, field: str = "device") -> torch.device:
    """A device that this machine has; :class:`InvalidInput` says why it has not."""
    reason = missing_device(name)
    if reason is not None:
        raise InvalidInput(f"{field}: {reason}", code="device_missing", field=field, value=name)
    return torch.device(name)


@contextlib.contextmanager
def drawing_on(device: torch.device) -> Iterator[None]:
    """Lets what draws on a device draw from torch's own generator, which seeds it, and leaves that of the device as it was."""
    if device.type == "cpu":
        yield
        return
    seed = int(torch.randint(2**63 - 1, ()))
    if device.type == "cuda":
        with torch.random.fork_rng(devices=[device]), torch.cuda.device(device):
            torch.cuda.manual_seed(seed)
            yield
        return
    torch.mps.manual_seed(seed)
    yield
