"""The pairs of a lesson, and what can be asked of earlier lessons."""
