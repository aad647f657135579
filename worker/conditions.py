"""Alarms about lasting conditions: raised once, and withdrawn when the condition is over."""

from __future__ import annotations

import contextlib

from driftline.errors import Unavailable

from .model_store import CONDITIONS, ModelStore

OF_FORMER_OWNERS = "of former owners"


class Conditions:
    """The conditions of one model that its owner has raised, or that a former owner may have left raised."""

    def __init__(self, store: ModelStore) -> None:
        self.store = store
        self.raised = {OF_FORMER_OWNERS}

    async def raise_once(self, kind: str, message: str) -> None:
        """Raises the alarm of a condition, once for as long as it lasts."""
        if kind not in self.raised:
            with contextlib.suppress(Unavailable):
                await self.store.alarm(kind, message)
                self.raised.add(kind)

    async def withdraw(self) -> None:
        """Withdraws all of them after a turn has succeeded, also those of former owners."""
        if self.raised:
            await self.store.withdraw(*CONDITIONS)
            self.raised.clear()
