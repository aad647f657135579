"""What comes in, checked: rows of inputs, and feedback."""
