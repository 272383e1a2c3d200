"""This script is a command now."""

raise SystemExit(
    'scripts/paper_tables.py is the command `basicsr tables` now; in a clone that is not installed: python scripts/tables.py'
)
