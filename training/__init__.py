"""Heads and how they change."""
