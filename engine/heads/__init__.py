"""Heads: small trained maps from frozen features to the shared space."""
