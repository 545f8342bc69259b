"""The report of an evaluation: one page, in words, figures and pictures."""
