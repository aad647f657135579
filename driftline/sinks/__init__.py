"""Sinks: topics and files that messages are written to. One file a kind, all by one interface.

An installed package adds a kind by an entry point of the group ``driftline.sinks``, which names the module of its class.
"""
