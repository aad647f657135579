"""The processes on one machine, and their supervision."""
