"""What every part needs and none is about."""
