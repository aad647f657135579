"""Whose labels are learned: who they came from, how far they agree with those of others, and who departs from these."""
