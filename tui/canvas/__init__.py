"""Charts as cells: numpy in, glyphs and inks out; nothing here knows of a terminal or of Textual."""
