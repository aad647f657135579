"""What changes the weights: the training step, and all that takes part in it."""
