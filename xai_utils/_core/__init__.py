"""How a model is run: what all methods share. It begins with `runner`."""
