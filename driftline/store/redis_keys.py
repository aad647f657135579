"""The names of all keys in Redis.

All keys of one model share the hash tag ``{uid}``, so that one script may touch them on a cluster. The uid is made at
creation: a model that is deleted and made again under its name shares nothing with the old one.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass

STORE_ID = ":store"


def new_uid() -> str:
    """A new identity of a model: 12 random hex digits."""
    return secrets.token_hex(6)


@dataclass(frozen=True)
class Keys:
    """The keys that begin with one prefix. ``hints`` is a pub/sub channel that carries the uid of a model that has changed."""

    prefix: str

    @property
    def names(self) -> str:
        """Hash: model name → uid; beside them, under a name that no model can have, the store's own id."""
        return f"{self.prefix}names"

    @property
    def unnamed(self) -> str:
        """Sorted set: uids of models that are being created or removed, by the time at which that began."""
        return f"{self.prefix}unnamed"

    @property
    def format(self) -> str:
        """String: the number of the format that all of this is written in; see :mod:`driftline.store.format`."""
        return f"{self.prefix}format"

    @property
    def probe(self) -> str:
        """String: written to see whether the store takes a write; expires."""
        return f"{self.prefix}probe"

    @property
    def workers(self) -> str:
        """Hash: worker → its newest heartbeat."""
        return f"{self.prefix}workers"

    @property
    def row_lags(self) -> str:
        """Hash: uid → how much its sources of rows have left to read, as the app that runs them last told."""
        return f"{self.prefix}row_lags"

    @property
    def charges(self) -> str:
        """Hash: caller:what → what it may still have of that, and when that was so; expires."""
        return f"{self.prefix}charges"

    def open_streams(self, caller: str) -> str:
        """Sorted set: the streams that a caller has open, by when their leases end, in seconds; expires."""
        return f"{self.prefix}open_streams:{caller}"

    @property
    def model_prices(self) -> str:
        """Hash: uid → the bytes of the model's weights, and who made it; see :mod:`driftline.store.model_prices`."""
        return f"{self.prefix}model_prices"

    @property
    def prediction_streams(self) -> str:
        """Hash: nonce of streams of predictions → until when a replica writes them, and which; see
        :mod:`driftline.store.prediction_streams`."""
        return f"{self.prefix}prediction_streams"

    @property
    def predicted(self) -> str:
        """Sorted set: UID:NONCE of the streams of predictions that were written to lately, by when, in seconds; see
        :mod:`driftline.store.predicted_rows`."""
        return f"{self.prefix}predicted"

    @property
    def told(self) -> str:
        """Sorted set: UID:NONCE of what a replica has answered and sinks are told of, by when it was last written to."""
        return f"{self.prefix}told"

    @property
    def told_counts(self) -> str:
        """Hash: UID:NONCE → how many predictions have been recorded there that sinks are told of."""
        return f"{self.prefix}told_counts"

    @property
    def hints(self) -> str:
        return f"{self.prefix}hints"

    def of(self, uid: str) -> ModelKeys:
        return ModelKeys(f"{self.prefix}{{{uid}}}:")


@dataclass(frozen=True)
class ModelKeys:
    """The keys of one model."""

    base: str

    def __getattr__(self, noun: str) -> str:
        if noun not in NOUNS:
            raise AttributeError(noun)
        return self.base + noun

    def item(self, identifier: str) -> str:
        """String: what is known of a record, or of the fact that goes by this name, for as long as a resend is recognised;
        see :mod:`driftline.store.facts`."""
        return f"{self.base}item:{identifier}"

    def predictions(self, nonce: str) -> str:
        """Stream: what the replica that writes under ``nonce`` has answered, a batch an entry."""
        return f"{self.base}predictions:{nonce}"

    def key(self, name: str) -> str:
        """String: where the newest prediction is that its user has named so."""
        return f"{self.base}key:{name}"

    def all(self) -> list[str]:
        """Every key that does not expire; all others expire by themselves."""
        return [self.base + noun for noun in NOUNS]


NOUNS = {
    "meta": "hash: name, spec, created, log_id, paused, paused_by (record), owner (of the lease), crashes (in a row), "
    "taken (token of the last taking of the lease), watched (predicted rows whose inputs were compared); "
    "of the instance: webhook:ID (the last event sent there)",
    "log": "stream: records, entry n-0, n dense",
    "last": "string: number of the newest record",
    "head": "hash: version, manifest, step, offset, learned, bytes (of the records up to offset), checkpoint …, events "
    "(how many), events:KIND (how many of it), event_ms (of the newest)",
    "steps": "stream: committed steps, entry k-0",
    "checkpoints": "sorted set: former checkpoints that are kept, by their log offset",
    "versions": "hash: version → what is known of it",
    "coverage": "sorted set: version, by the log offset up to which it is the first to cover",
    "commands": "sorted set: log numbers of all commands in the log",
    "pending": "sorted set: log numbers of commands not yet carried out",
    "jobs": "hash: job id → its state and report",
    "ended": "sorted set: ids of ended jobs, by the step that ended them",
    "progress": "hash: job id → share done",
    "metrics": "string: the learner's metrics",
    "alarms": "hash: kind → the newest alarm of that kind",
    "events": "stream: what has happened, entry ms-n, n dense over this and `routine`",
    "routine": "stream: the same, of versions and refusals, which are many",
    "over": "hash: kind → the newest alarm of that kind that is over, and when",
    "acknowledged": "hash: kind → who has acknowledged the alarm of that kind, when and why",
    "minutes": "sorted set: scores of a minute, by its beginning",
    "hours": "sorted set: the same of an hour",
    "rejected": "sorted set: the newest labels that were not learned, by log number",
    "sources": "hash: source → how far it has been read",
    "source_specs": "hash: name of a source → how it is configured",
    "source_states": "hash: name of a source → how it does, as its worker last told",
    "waiting": "hash: id → a label of a source that waits for the prediction that it is about",
    "dead": "hash: id → a record that a source could not take",
    "dead_order": "sorted set: these ids, in the order in which they came",
    "dead_counts": "hash: source → how many of its records could not be taken; #n: all; #bytes: of those that are kept",
    "imports": "hash: digest of a file of history → how far it was imported",
    "owners": "hash: owner → 1, of whom there are predictions or items",
    "lease": "string: the worker that learns, for as long as its heartbeats go on",
    "epoch": "string: counts owners; fences the former ones",
}
