"""The encoder of rows of fields: part of a model, and learning like all of it.

Its numbers are torch buffers, and it computes with numpy on the same memory: for the small arrays of a few rows that is several
times faster.
"""
