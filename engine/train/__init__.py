"""Training on DeepSpeed. Importing this package imports nothing heavy; `main.train` does."""
