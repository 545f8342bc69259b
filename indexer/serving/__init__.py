"""What is served: build it, switch it, search it, describe it."""
