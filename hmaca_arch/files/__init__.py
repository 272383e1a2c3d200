"""Image files, weights and output folders."""
