"""Indexes: what is read of them, what they find, and how it is told."""
