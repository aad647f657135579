"""Rows of inputs as arrays: tensors as they came, and fields coded."""
