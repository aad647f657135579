"""Digests of deterministic runs: what a learner answers, weighs and keeps must stay the same, bit for bit.

``python -m tests.golden write`` records them, ``python -m tests.golden check`` shows how a run differs from what is recorded.
"""
