"""``python -m driftline.networks.kernels`` compiles all kernels, so that a first start finds them.

With ``--told`` it compiles those whose names come, a line each, as :func:`driftline.networks.kernels.compiled.warm` has it.
"""

from __future__ import annotations

import sys

from driftline.networks.kernels.all_kernels import compile_told, warm

if __name__ == "__main__":
    if "--told" in sys.argv:
        for name in compile_told(sys.stdin):
            print(name, flush=True)
    else:
        warm()
