"""Processes on one machine: which there are, who starts them, and who ends them."""
