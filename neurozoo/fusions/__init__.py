"""Fusions: the refined modalities become one sequence."""
