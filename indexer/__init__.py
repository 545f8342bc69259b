"""Which shards exist, and what is in them."""
