"""Scripts that repeat what papers measured, on what can be had here."""
