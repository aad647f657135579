"""The serving process: answers predictions, accepts feedback, swaps in new versions."""
