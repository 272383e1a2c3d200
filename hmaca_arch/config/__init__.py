"""Option files: reading, merging and checking them."""
