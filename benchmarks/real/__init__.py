"""Real tables as they come, and those who learn from them."""
