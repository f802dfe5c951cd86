"""Whether what an answer says is supported: by passages, or by other answers of the same model."""
