"""`experiments.db`: what should run, and what is known of what ran."""
