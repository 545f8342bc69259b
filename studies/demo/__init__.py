"""The demo: a collection drawn from a seed, three lessons, and a sheet of the hits."""
