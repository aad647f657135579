"""docs/levers.md tells every lever of a recipe with its parameters and their defaults."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from driftline.learning.training.optimizers import TORCH_NAMES
from driftline.spec.parts.averaging import AVERAGINGS
from driftline.spec.parts.hooks import L2SP, MaxNorm, Refresh, ShrinkAndPerturbOnAlarm
from driftline.spec.parts.losses import LOSSES
from driftline.spec.parts.schedules import SCHEDULES

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "levers.md").read_text()
PARTS: dict[str, type[BaseModel]] = {
    **LOSSES.parts,
    **SCHEDULES.parts,
    **AVERAGINGS.parts,
    "l2_sp": L2SP,
    "max_norm": MaxNorm,
    "refresh": Refresh,
    "shrink_and_perturb": ShrinkAndPerturbOnAlarm,
}


@pytest.mark.parametrize("name", PARTS)
def test_every_lever_has_its_line_with_every_parameter_and_its_default(name: str) -> None:
    (line,) = [line for line in PAGE.splitlines() if re.match(rf"\|[^|]*`{name}`", line)]
    for parameter, field in PARTS[name].model_fields.items():
        if parameter == "name":
            continue
        default = field.get_default()
        text = PAGE if name in AVERAGINGS.parts else line
        assert f"`{parameter}`" in text or f'"{parameter}": ' in text, parameter
        if isinstance(default, int | float):
            shown = str(default).removeprefix("0").removesuffix(".0") or "0"
            tells = (f"`{parameter}` {shown}", f"`{parameter}` {default}", f'"{parameter}": {default}')
            assert any(tell in text for tell in tells), (parameter, default)


def test_every_optimizer_is_named() -> None:
    assert not [name for name in TORCH_NAMES if f"`{name}`" not in PAGE]
