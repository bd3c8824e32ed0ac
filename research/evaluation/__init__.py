"""How well embeddings tell what belongs together."""
