"""What counts as right, and the measures over it."""
