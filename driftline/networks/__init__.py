"""What is served: the app runs it, the learner trains it."""
