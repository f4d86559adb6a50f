"""NIR, the neuromorphic intermediate representation: graphs, and what they say of a model (https://neuroir.org)."""
