"""From queries and candidates to hits: parsing, composing, and merging across tasks."""
