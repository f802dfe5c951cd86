"""What a comparison of runs shows, before it is drawn: rows, curves, pairs of answers."""
