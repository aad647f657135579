"""Retrain jobs: what they train, on what, and how several are compared."""
