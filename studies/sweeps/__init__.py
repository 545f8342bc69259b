"""Sweeps: methods, losses, heads and seeds over a stream of tasks."""
