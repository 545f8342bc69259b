"""What a workspace holds on disk: files that survive a crash, the manifest, and the LMDB store."""
