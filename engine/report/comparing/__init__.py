"""Experiments side by side: what is measured between them, and one page of it."""
