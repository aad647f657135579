"""Helpers without a domain of their own: tasks, formatting, failpoints."""
