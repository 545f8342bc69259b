"""Strategies: what wraps the gradient of a loss, one link of a method each."""
