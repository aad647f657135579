"""Sources of labels: streams, tables and files that a worker reads for one model. One file a kind, all by one interface.

An installed package adds a kind by an entry point of the group ``driftline.sources``, which names the module of its class.
"""
