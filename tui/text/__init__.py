"""Text in cells: cut, wrapped, and safe to show."""
