"""Every action of the terminal UI, as data: one table drives the keys, the key bar, the help and the palette."""
