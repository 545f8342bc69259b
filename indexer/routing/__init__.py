"""How probable each task is for a query: a streaming discriminant per modality, and temperatures."""
