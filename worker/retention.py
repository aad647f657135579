"""Retention: deletes old versions, superseded checkpoints, and files that nothing refers to."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from driftline.errors import CorruptData, NotFound
from driftline.store.checkpoints import FormerCheckpoints, spread
from driftline.store.commits import Checkpoint, Head, Version
from driftline.support.failpoints import reach

from .model_store import ModelStore

LADDER = ((60, 3600), (3600, 86400), (86400, math.inf))
"""Of each so many seconds one version is kept, for so many seconds."""


Kept = TypeVar("Kept", Version, Checkpoint)


class Retention:
    """Deletes the files of one model that are neither live nor referred to.

    It belongs to the owner of the model, who alone makes versions: they are read from the store once.
    """

    def __init__(self, store: ModelStore) -> None:
        self.store = store
        self._versions: dict[int, Version] | None = None
        self._former = FormerCheckpoints(store.connection, store.uid)
        self._checkpoints: list[Checkpoint] | None = None
        self._files: dict[str, Mapping[str, int]] = {}
        self._swept_at = -math.inf

    async def erase(self, head: Head) -> None:
        """Deletes every file that a head and the lists in the store do not refer to, at once: this owner is writing none."""
        self._versions, self._swept_at = None, -math.inf
        await self.apply(head, orphan_seconds=0.0)

    async def apply(self, head: Head, published: Version | None = None, *, orphan_seconds: float | None = None) -> None:
        """Deletes what is beyond its time. A file that was never referred to is deleted after an hour.

        Args:
            published: the version that has come since the last time.
            orphan_seconds: after how long a file that was never referred to is deleted; default: that of the settings.
        """
        if self._versions is None:
            self._versions = {version.version: version for version in await self.store.commit_log.versions()}
        elif published is not None:
            self._versions[published.version] = published
        if published is None or self._checkpoints is None:
            self._checkpoints = await self._thinned(head)
        retained = await asyncio.to_thread(self._retained, head, list(self._versions.values()))
        retired = [version for number, version in self._versions.items() if number not in retained]
        manifests = {version.manifest for version in retained.values()} | named(head)
        manifests |= {checkpoint.manifest for checkpoint in self._checkpoints}
        gone = set(self._files) - manifests
        is_sweep = time.monotonic() - self._swept_at >= self.store.settings.sweep_seconds
        if is_sweep:
            await self._trim()
        if not (retired or gone or is_sweep):
            return
        await self.store.commit_log.retire([version.version for version in retired])
        self._versions = retained
        reach("retention.retired")
        gone |= {version.manifest for version in retired}
        age = self.store.settings.orphan_seconds if orphan_seconds is None else orphan_seconds
        await asyncio.to_thread(self._collect, manifests, gone, age)
        self._swept_at = time.monotonic()

    async def _thinned(self, head: Head) -> list[Checkpoint]:
        """The former checkpoints that are kept; the others are taken off the list."""
        settings, known = self.store.settings, await self._former.all()
        oldest = await self.store.log.since(1, 1) if known else []
        wanted = spread(known, oldest[0].n if oldest else head.offset + 1, settings.log_keep)
        places = [place.manifest for place in (head.checkpoint, head.older_checkpoint) if place is not None]

        def affordable() -> list[Checkpoint]:
            stored = frozenset[str]().union(*(self._of(manifest) for manifest in places))
            return list(self._affordable(reversed(wanted), stored, settings.checkpoint_bytes))

        kept = await asyncio.to_thread(affordable)
        await self._former.drop({each.manifest for each in known} - {each.manifest for each in kept})
        return kept

    async def _trim(self) -> None:
        """Removes events and scores that are beyond their time."""
        settings, now = self.store.settings, self.store.now()
        await self.store.events.trim(settings.keep_events, now - settings.event_seconds)
        await self.store.scores.trim(now - settings.score_seconds)

    def _retained(self, head: Head, versions: Sequence[Version]) -> dict[int, Version]:
        """The versions that are kept, by number, rising."""
        settings = self.store.settings
        newest = versions[-settings.keep_versions - 1 :]
        # Until there are two checkpoints, recovery may have to begin at version 1.
        first = [version for version in versions if version.version == 1] if head.older_checkpoint is None else []
        live = [version for version in versions if version.version == head.version]
        kept = {version.version: version for version in [*first, *live, *newest]}
        manifests = {*named(head), *(version.manifest for version in kept.values())}
        stored = frozenset[str]().union(*(self._of(manifest) for manifest in manifests))
        aged = by_age(versions, self.store.now(), settings.version_seconds)
        kept |= {version.version: version for version in self._affordable(aged, stored, settings.version_bytes)}
        return {number: kept[number] for number in sorted(kept)}

    def _affordable(self, found: Iterable[Kept], stored: Collection[str], left: int) -> Iterator[Kept]:
        """Those that take no more than so many bytes beside what is ``stored`` anyway, the first ones first."""
        counted = {*stored}
        for each in found:
            files = {name: size for name, size in self._of(each.manifest).items() if name not in counted}
            if sum(files.values()) <= left:
                left -= sum(files.values())
                counted |= files.keys()
                yield each

    def _collect(self, manifests: set[str], gone: set[str], orphan_seconds: float) -> None:
        keep = frozenset[str]().union(*(self._of(manifest) for manifest in manifests))
        retired = frozenset[str]().union(*(self._of(manifest) for manifest in gone))
        self.store.artifacts.collect(self.store.uid, keep, orphan_seconds, retired - keep)
        for manifest in gone:
            self._files.pop(manifest, None)

    def _of(self, manifest: str) -> Mapping[str, int]:
        """The files that a manifest needs, with their bytes."""
        if manifest not in self._files:
            try:
                self._files[manifest] = self.store.version_files.blobs(manifest)
            except (CorruptData, NotFound):
                self._files[manifest] = {manifest: 0}
        return self._files[manifest]


def named(head: Head) -> set[str]:
    """The manifests that a head names."""
    others = (head.checkpoint, head.older_checkpoint, head.canary)
    return {head.manifest, *(other.manifest for other in others if other is not None)}


def by_age(versions: Sequence[Version], now: float, longest: float) -> list[Version]:
    """Of versions, rising, the newest of each day, of each hour of the last day, and of each minute of the last hour.

    Those of days come first, and the newest first; none is older than ``longest`` seconds.
    """
    found: dict[int, Version] = {}
    for step, span in reversed(LADDER):
        seen: set[float] = set()
        for version in reversed(versions):
            place = version.created // step
            if now - version.created < min(span, longest) and place not in seen:
                seen.add(place)
                found.setdefault(version.version, version)
    return list(found.values())
