"""Training on BasicSR's pipelines: what is replaced in them, processes, resuming, progress."""

import basicsr  # noqa: F401  (first: registering models with it may import this package)
