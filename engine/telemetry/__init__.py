"""Facts: what a run measured, wrote and went through, and the files they are kept in."""
