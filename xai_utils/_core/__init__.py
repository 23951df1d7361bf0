"""How a model is run: what all methods share, and a reader need not know."""
