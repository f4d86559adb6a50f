"""SMILE, its parts, and the model whose steps are the sequence."""
