"""Shards: the embeddings of one task and modality by one head, on disk and searched."""
