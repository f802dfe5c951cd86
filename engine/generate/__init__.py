"""Answers: how models write them, what they read before them, and what they cite."""
