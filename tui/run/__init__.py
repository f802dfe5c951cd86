"""One run: what is read of it, and how it is told."""
