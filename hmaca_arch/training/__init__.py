"""Training on BasicSR's pipelines: what is replaced in them, processes, resuming, progress."""
