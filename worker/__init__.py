"""The learning process: owns models by lease, and learns from their logs."""
