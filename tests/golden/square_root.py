"""A square root that is rounded the same on every x86-64 machine.

MKL's, with the instructions that every CPU has, begins with ``rsqrtps``, whose first digits are each maker's own: the last bit
differs between CPUs. That of numpy is ``sqrtps``, which IEEE 754 rounds for all.
"""

from __future__ import annotations

import warnings
from functools import cache

import numpy as np
import torch
from torch import Tensor


@cache
def install() -> torch.library.Library:
    """Puts it in the place of PyTorch's, in this process and for whoever takes a root."""
    library = torch.library.Library("aten", "IMPL")
    with warnings.catch_warnings(action="ignore"):
        library.impl("sqrt", _root, "CPU")
        library.impl("sqrt_", lambda tensor: tensor.copy_(_root(tensor)), "CPU")
        library.impl("sqrt.out", lambda tensor, *, out: out.resize_(tensor.shape).copy_(_root(tensor)), "CPU")
    return library


def _root(tensor: Tensor) -> Tensor:
    with np.errstate(invalid="ignore"):
        return torch.from_numpy(np.asarray(np.sqrt(tensor.detach().numpy())))
