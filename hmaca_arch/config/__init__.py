"""Option files: reading, merging and checking them."""

import basicsr  # noqa: F401  (first: registering models with it may import this package)
