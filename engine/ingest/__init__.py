"""Sources into the store: which backbones, their features, and what changed."""
