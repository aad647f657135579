"""What Driftline claims, measured: each script prints its figures, and runs against 127.0.0.1 only."""
