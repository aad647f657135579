"""A comparison of two kept versions: a job that measures, and changes nothing of the learner."""

from __future__ import annotations

from typing import Any

from driftline.errors import InvalidInput
from driftline.learning.reports.comparison import ExaminedVersion, compare_versions, examples_of
from driftline.learning.reports.evaluation import LATEST
from driftline.networks.user_code import told
from driftline.records import Command
from driftline.store.commits import JobRecord

from .commands import Effect
from .committer import Committer


async def compare(committer: Committer, command: Command) -> Effect:
    """Measures the versions that a command names, on what is held out and on the latest labels.

    One version at a time, so that other models have their turns on the compute thread in between.

    Raises:
        NotFound, CorruptData: a version is not kept any more, or damaged.
        InvalidInput: a network of the user's own has failed.
    """
    store, learner = committer.store, committer.learner
    classes = learner.class_table
    versions = [await store.commit_log.version(number) for number in command.arguments["versions"]]
    items = await store.log.kept(committer.head.offset, LATEST)
    examples = await committer.compute(examples_of, learner, items)

    def examined(number: int, manifest: str) -> ExaminedVersion:
        restored = store.version_files.restored(manifest, store.settings.factories)
        try:
            return ExaminedVersion.of(number, restored, classes, examples)
        except Exception as error:  # A user's own network may raise anything.
            raise InvalidInput(f"version {number}: {told(error)}", field="versions", value=number) from error

    one, other = [await committer.compute(examined, version.version, version.manifest) for version in versions]
    report: dict[str, Any] = compare_versions(one, other)
    return Effect(jobs=[JobRecord(command.id, "succeeded", 1.0, report=report)])
