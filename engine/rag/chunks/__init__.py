"""Documents cut into chunks, and chunks that are copies of others left out."""
