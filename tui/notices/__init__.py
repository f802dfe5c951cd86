"""Notices: what a person wants to be told of while plumbline is open, and how it reaches them."""
