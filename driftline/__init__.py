"""Driftline serves PyTorch models that keep learning in production."""

__version__ = "0.1.0"
