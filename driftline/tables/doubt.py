"""What was decided of a file and may be wrong."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Doubt:
    """One decision: of a column, or of the whole file (None). ``option`` is what decides it otherwise."""

    text: str
    column: str | None = None
    option: str | None = None

    def __str__(self) -> str:
        return f"{self.text} ({self.option})" if self.option else self.text
