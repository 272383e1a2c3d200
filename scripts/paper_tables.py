"""Name the command that replaced this script."""

raise SystemExit(
    'scripts/paper_tables.py is the command `basicsr tables` now; '
    'in a clone that is not installed: python scripts/tables.py'
)
