"""The headless half of Plumbline: everything the terminal UI does, without a terminal."""
