"""Backtest: plays a recorded stream as the service would have received it."""
