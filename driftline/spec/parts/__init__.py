"""The parameters of every part that a spec can name, one module a kind: pydantic classes, without torch."""
