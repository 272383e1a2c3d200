"""Training on BasicSR's pipelines: what is replaced in them, processes, resuming, progress."""

import basicsr  # noqa: F401  (first: registers `models` with it, which this room may be needed for)
