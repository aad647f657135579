"""How a model learns: torch and numpy, never Redis or HTTP."""
