"""Members of a served mixture: each answers log-probabilities, all they need to predict is in their buffers."""
