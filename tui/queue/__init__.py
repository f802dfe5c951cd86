"""The queue: its rows, and what is told of a run that waits."""
