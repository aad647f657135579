"""The note that a worker leaves among its artifacts, by which servers see that theirs are the same."""

from __future__ import annotations

import asyncio
import logging
import secrets

from driftline.errors import Unavailable
from driftline.store.artifacts import Artifacts

from .heartbeat import Heart

logger = logging.getLogger("driftline.worker")


class Note:
    """Writes the note again and again, so that artifacts that refuse are told of before there is something to learn.

    Args:
        heart: tells of the note.
        every_seconds: how often it is written.
        retry_seconds: how often while that is refused.
    """

    def __init__(
        self, artifacts: Artifacts, heart: Heart, every_seconds: float = 30.0, retry_seconds: float = 2.0
    ) -> None:
        self.artifacts = artifacts
        self.heart = heart
        self.every_seconds = every_seconds
        self.retry_seconds = retry_seconds
        self._text = secrets.token_hex(8)
        heart.encryption_keys = artifacts.encryption.names

    async def run(self) -> None:
        """Writes until cancelled."""
        while True:
            await self._write()
            await asyncio.sleep(self.retry_seconds if self.heart.artifacts_failure else self.every_seconds)

    async def _write(self) -> None:
        failure = ""
        try:
            await asyncio.to_thread(self.artifacts.leave_note, self.heart.owner, self._text)
            self.heart.note = self._text
        except Unavailable as error:
            failure = error.message
        if failure and not self.heart.artifacts_failure:
            logger.error("%s", failure)
        self.heart.artifacts_failure = failure

    async def remove(self) -> None:
        """Removes it: the worker ends in order."""
        try:
            await asyncio.to_thread(self.artifacts.remove_note, self.heart.owner)
        except Unavailable as error:
            logger.warning("%s", error.message)
