"""Queries to passages: by meaning, by words, by both, among the rows that count."""
