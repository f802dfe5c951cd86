"""The vector index: trained, filled, searched, scored exactly."""
