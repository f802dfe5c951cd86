"""What a run will need, before it runs: memory, batches, disk and time. Pure arithmetic; nothing heavy is imported."""
