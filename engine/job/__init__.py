"""What every job on ranks needs: its environment, how ranks meet, whose folder is whose, facts, and how it stops."""
