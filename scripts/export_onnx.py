"""This script is a command now."""

raise SystemExit(
    'scripts/export_onnx.py is the command `basicsr export` now; in a clone that is not installed: python scripts/export.py'
)
