"""What head versions make of stored items, in their own space or another's."""
