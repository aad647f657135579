"""The serving process: answers predictions, takes feedback, follows the head."""
