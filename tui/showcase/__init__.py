"""Generated experiments with a believable history: for `plumbline --demo`, for pictures, for a first look."""
