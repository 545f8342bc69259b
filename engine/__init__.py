"""Media in, vectors out; a query in, hits out."""
