"""Measuring: retrieval, hallucination, faithfulness, calibration."""
