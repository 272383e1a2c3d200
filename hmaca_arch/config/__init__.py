"""Option files: reading, merging and checking them."""

import basicsr  # noqa: F401  (first: registers `models` with it, which this room may be needed for)
