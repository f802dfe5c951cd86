"""Texts to vectors: in which batches, on which ranks, and what is taken over instead."""
