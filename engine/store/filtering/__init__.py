"""The filter language: which experiments a line of terms leaves, the same in `engine ls` and in the terminal UI."""
