"""What there is to tell where something that was learned before is gone on with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Return:
    """What was learned up to ``labels`` labels ago is true again: on the newest labels, as many as were ``tried``, its loss is
    less by ``gain`` than that of the present mixture.
    """

    labels: int
    tried: int
    gain: float

    @property
    def message(self) -> str:
        """The whole in one sentence."""
        return (
            f"a concept has returned: what was learned up to {self.labels:,} labels ago is gone on with, since on the newest "
            f"{self.tried} its loss is less by {self.gain:.3g} than that of the present one"
        )

    def as_json(self) -> dict[str, Any]:
        return dict(vars(self))
