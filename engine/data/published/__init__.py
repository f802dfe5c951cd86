"""Published question files, turned into rows that training and evaluation read."""
