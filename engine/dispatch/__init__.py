"""The dispatcher: makes what runs equal to what should run, and copies the facts of the nodes into the database."""
