"""The backlog of one log, its cap, and the alarms about it."""

from __future__ import annotations

from dataclasses import dataclass

from driftline.settings import Settings
from driftline.store.redis_health import NEARLY_FULL
from driftline.support.formatting import size_text, time_text

CATCH_UP = (
    "see that a worker runs and has CPU, and that the model is not paused; or raise the DRIFTLINE_LOG_CAP settings"
)
RESTORE = (
    "restore the store from a backup, or delete the model and create it again from its live weights; `driftline doctor` "
    "says more"
)


@dataclass(frozen=True)
class Cap:
    """The limits of a backlog: records, their bytes, and the age of the oldest. Above them new items are refused."""

    records: int
    bytes: int = 2**53
    seconds: float = 1e9

    @classmethod
    def of(cls, settings: Settings) -> Cap:
        return cls(settings.log_cap, settings.log_cap_bytes, settings.log_cap_seconds)


@dataclass(frozen=True)
class Backlog:
    """Records that are not learned yet, their bytes, and the age of the oldest. ``gap`` is the number of a missing record."""

    records: int = 0
    bytes: int = 0
    seconds: float = 0.0
    gap: int | None = None

    def fullness(self, cap: Cap) -> float:
        """The highest share of its three limits that it has reached."""
        return max(self.records / cap.records, self.bytes / cap.bytes, self.seconds / cap.seconds)

    def told(self, cap: Cap) -> str:
        """A sentence with its numbers, those of the cap, and what to do."""
        return (
            f"{self.records:,} records of {size_text(self.bytes)} wait to be learned, the oldest for "
            f"{time_text(self.seconds)}; {cap.records:,} records, {size_text(cap.bytes)} or {time_text(cap.seconds)} may "
            f"wait; {CATCH_UP}"
        )

    def alarms(self, cap: Cap) -> dict[str, str]:
        """Current problems: kind → message."""
        found = {}
        if self.gap is not None:
            found["log_gap"] = (
                f"the log lacks record {self.gap}: nothing is learned, and feedback is refused; {RESTORE}"
            )
        if (fullness := self.fullness(cap)) >= NEARLY_FULL:
            found["log_filling"] = (
                f"the log is at {fullness:.0%} of its cap, where feedback is refused: {self.told(cap)}"
            )
        return found
