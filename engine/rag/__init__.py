"""Retrieval: documents, chunks, embeddings, the index, and search."""
