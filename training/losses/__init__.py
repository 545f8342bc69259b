"""Losses: pure functions of embeddings and a batch, one value per row."""
