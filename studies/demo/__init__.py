"""The demo: a collection drawn from a seed, three lessons, and what was found."""
