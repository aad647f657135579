"""Examples that are kept: for replay, and for the answer to an alarm."""
