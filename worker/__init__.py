"""The learning process: owns models by lease, and learns their logs."""
