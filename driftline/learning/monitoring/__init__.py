"""What is observed of a served model: prequential metrics, forgetting, and drift."""
