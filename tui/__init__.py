"""The terminal UI: a view over the store, plus intents. It never touches a node."""
