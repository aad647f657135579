"""Which version is served: the gate, and how a candidate passes it."""
