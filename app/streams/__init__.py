"""Rows from streams, answered as those of calls are, and their predictions written to sinks."""
