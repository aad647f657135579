"""Parsing and checking of what clients send: rows of inputs, and feedback."""
