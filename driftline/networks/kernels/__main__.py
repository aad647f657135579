"""``python -m driftline.networks.kernels`` compiles all kernels, so that a first start finds them."""

from __future__ import annotations

from driftline.networks.kernels.all_kernels import warm

if __name__ == "__main__":
    warm()
