"""Checks a whole Driftline, its store, its files and its packages, and says what to do. It changes nothing."""

from __future__ import annotations

import asyncio

from driftline.doctor import device, disk, packages, place, store
from driftline.doctor.artifacts import check_strangers
from driftline.doctor.finding import Finding
from driftline.doctor.models import check_models
from driftline.errors import Unavailable
from driftline.settings import Settings
from driftline.store.catalog import Catalog
from driftline.store.connection import RedisConnection

__all__ = ["Finding", "examine"]


def examine(settings: Settings) -> list[Finding]:
    """The findings of every check, in the order of the checks."""
    findings = [*packages.check(settings), *device.check(settings), *disk.check(settings)]
    with place.find(settings) as found:
        findings += found.findings
        if found.url is not None:
            findings += asyncio.run(_examine_store(settings, found.url, found.is_running))
    return findings


async def _examine_store(settings: Settings, url: str, is_running: bool) -> list[Finding]:
    connection = RedisConnection(url, settings.prefix)
    try:
        findings = await store.check(connection, url)
        if not store.is_reachable(findings):
            return findings
        names = await Catalog(connection).names()
        findings += await check_models(connection, settings, names, is_running)
        findings += await check_strangers(settings, names)
    except Unavailable as error:
        return [*findings, store.lost(error)]
    finally:
        await connection.close()
    return findings
