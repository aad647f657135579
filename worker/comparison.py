"""A comparison of two versions: a job that measures, and does not change the learner."""

from __future__ import annotations

from typing import Any

from driftline.errors import InvalidInput, UserCodeFailed
from driftline.learning.reports.comparison import ExaminedVersion, compare_versions, examples_of
from driftline.learning.reports.evaluation import LATEST
from driftline.networks.user_code import user_code
from driftline.records import Command
from driftline.store.commits import JobRecord

from .commands import Effect
from .committer import Committer


async def compare(committer: Committer, command: Command) -> Effect:
    """Measures the versions that a command names, on the holdout and on the latest labels.

    One version at a time, so that other models have their turns in between.

    Raises:
        NotFound, CorruptData: a version was deleted, or is damaged.
        InvalidInput: the network of a version has failed.
    """
    store, learner = committer.store, committer.learner
    classes = learner.class_table
    versions = [await store.commit_log.version(number) for number in command.arguments["versions"]]
    items = await store.log.latest(committer.head.offset, LATEST)
    examples = await committer.compute(examples_of, learner, items)

    def evaluated(number: int, manifest: str) -> ExaminedVersion:
        restored = store.version_files.restored(manifest, store.settings.factories)
        try:
            with user_code(f"the network of version {number}"):
                return ExaminedVersion.of(number, restored, classes, examples)
        except UserCodeFailed as failed:
            raise InvalidInput(failed.message, field="versions", value=number) from failed.__cause__

    one, other = [await committer.compute(evaluated, version.version, version.manifest) for version in versions]
    report: dict[str, Any] = compare_versions(one, other)
    return Effect(jobs=[JobRecord(command.id, "succeeded", 1.0, report=report)])
