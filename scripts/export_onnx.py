"""Name the command that replaced this script."""

raise SystemExit(
    'scripts/export_onnx.py is the command `basicsr export` now; '
    'in a clone that is not installed: python scripts/export.py'
)
