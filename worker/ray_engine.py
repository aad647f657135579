"""The Ray cluster on whose nodes heavy jobs train."""

from __future__ import annotations

import asyncio
import json
import os
from asyncio.subprocess import DEVNULL, PIPE
from pathlib import Path

from driftline.errors import ConfigurationError, Unavailable
from driftline.processes.on_ray import RUN, knock, on_a_node, require
from driftline.settings import Settings


class RayEngine:
    """The cluster of the settings. This process does not connect to it: Ray would end it with the cluster.

    Args:
        settings: of this process, which those that it starts read as well.
        check_seconds: how often is looked whether the cluster is there.
    """

    def __init__(self, settings: Settings, check_seconds: float = 10.0) -> None:
        self.settings = settings
        self.check_seconds = check_seconds
        self.address = settings.ray_address or ""

    @property
    def environment(self) -> dict[str, str]:
        """Of the processes that :meth:`command` starts: they all go to the cluster that answered at the start."""
        return {**os.environ, "DRIFTLINE_RAY_ADDRESS": self.address}

    def command(self, folder: Path) -> list[str]:
        """What trains the job in a folder on a node."""
        return on_a_node(folder, "worker", "--train")

    async def begin(self) -> None:
        """Looks once whether a cluster answers.

        Raises:
            ConfigurationError: none does, one of another version does, or Ray is not installed.
        """
        if self.settings.job_processes == 0:
            raise ConfigurationError(
                "DRIFTLINE_JOB_PROCESSES=0 lets jobs train on the thread that learns, and DRIFTLINE_ENGINE=ray on a cluster; "
                "let the former say how many of them may train there at once"
            )
        require()
        found = await self._ask()
        if "address" not in found:
            place = self.settings.ray_address or "the address in RAY_ADDRESS, or on this machine"
            raise ConfigurationError(
                f"DRIFTLINE_ENGINE=ray: no Ray cluster answers at {place}: {found['lost']}; start one (`ray start --head`), "
                "or set DRIFTLINE_RAY_ADDRESS"
            )
        self.address = self.settings.ray_address or found["address"]

    async def _ask(self) -> dict[str, str]:
        process = await asyncio.create_subprocess_exec(*RUN, stdin=DEVNULL, stdout=PIPE, env=self.environment)
        try:
            told, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
        found: dict[str, str] = json.loads(told or b"{}")
        return found or {"lost": "its log has more"}

    async def run(self) -> None:
        """Looks for as long as it runs whether the cluster is there.

        Raises:
            Unavailable: it is not.
        """
        while True:
            await asyncio.sleep(self.check_seconds)
            try:
                await asyncio.to_thread(knock, self.address)
            except OSError as error:
                raise Unavailable(f"{self.address} does not answer, and jobs train on this machine: {error}") from error
