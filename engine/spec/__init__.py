"""What an experiment is: typed, validated, diffable specs."""
