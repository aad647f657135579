"""The parameters of the parts that a spec chooses, one module a kind: pydantic alone, read without torch."""
