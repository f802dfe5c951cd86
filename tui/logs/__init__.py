"""The logs of a run: lines in bounded memory, how bad they are, when they were written."""
