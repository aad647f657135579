"""Backup and restore: a consistent copy of every model while everything runs, and its return into a store."""

from driftline.store.backup.copy import back_up
from driftline.store.backup.format import Index, SavedModel, read_index
from driftline.store.backup.restore import restore

__all__ = ["Index", "SavedModel", "back_up", "read_index", "restore"]
