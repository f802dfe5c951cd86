"""The list of experiments as a file."""
