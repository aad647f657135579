"""``python -m driftline.cli``."""

from __future__ import annotations

from driftline.cli import main

main()
