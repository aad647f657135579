"""Retention: deletes old versions, superseded checkpoints, and files that nothing refers to."""

from __future__ import annotations

import asyncio
import math
import time

from driftline.errors import CorruptData, NotFound
from driftline.store.commits import Head, Version
from driftline.support.failpoints import reach

from .model_store import ModelStore


class Retention:
    """Deletes the files of one model that are neither live nor referred to."""

    def __init__(self, store: ModelStore) -> None:
        self.store = store
        self._files: dict[str, frozenset[str]] = {}
        self._swept_at = -math.inf

    async def apply(self) -> None:
        """Deletes what is beyond its time. A file that was never referred to is deleted after an hour."""
        commit_log = self.store.commit_log
        head, versions = await commit_log.head(), await commit_log.versions()
        retained = self._retained(head, versions)
        retired = [version for version in versions if version not in retained]
        manifests = {version.manifest for version in retained} | {head.manifest}
        manifests |= {place.manifest for place in (head.checkpoint, head.older_checkpoint) if place is not None}
        gone = set(self._files) - manifests
        is_sweep = time.monotonic() - self._swept_at >= self.store.settings.sweep_seconds
        if is_sweep:
            await self._trim()
        if not (retired or gone or is_sweep):
            return
        await commit_log.retire([version.version for version in retired])
        reach("retention.retired")
        gone |= {version.manifest for version in retired}
        await asyncio.to_thread(self._collect, manifests, gone)
        self._swept_at = time.monotonic()

    async def _trim(self) -> None:
        """Removes events and scores that are beyond their time."""
        settings, now = self.store.settings, self.store.now()
        await self.store.events.trim(settings.keep_events, now - settings.event_seconds)
        await self.store.scores.trim(now - settings.score_seconds)

    def _retained(self, head: Head, versions: list[Version]) -> list[Version]:
        newest = versions[-self.store.settings.keep_versions - 1 :]
        # Until there are two checkpoints, recovery may have to begin at version 1.
        first = [version for version in versions if version.version == 1] if head.older_checkpoint is None else []
        live = [version for version in versions if version.version == head.version]
        return list({version.version: version for version in [*first, *live, *newest]}.values())

    def _collect(self, manifests: set[str], gone: set[str]) -> None:
        keep = frozenset().union(*(self._of(manifest) for manifest in manifests))
        retired = frozenset().union(*(self._of(manifest) for manifest in gone))
        self.store.artifacts.collect(self.store.uid, keep, self.store.settings.orphan_seconds, retired - keep)
        for manifest in gone:
            self._files.pop(manifest, None)

    def _of(self, manifest: str) -> frozenset[str]:
        if manifest not in self._files:
            try:
                self._files[manifest] = frozenset(self.store.version_files.blobs(manifest))
            except (CorruptData, NotFound):
                self._files[manifest] = frozenset({manifest})
        return self._files[manifest]
