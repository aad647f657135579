"""What is told of versions: scores, costs, and how two of them differ."""
