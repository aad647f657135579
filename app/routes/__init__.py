"""The calls, a file a noun."""
