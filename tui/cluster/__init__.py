"""The nodes: what is read of them, and how their slots are told."""
