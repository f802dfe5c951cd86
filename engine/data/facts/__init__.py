"""The built-in fact world: a closed world of invented people, and the places and works in their lives."""
