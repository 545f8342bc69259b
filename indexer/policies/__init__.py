"""Which head and which shards answer a query, as pure functions of history and statistics."""
