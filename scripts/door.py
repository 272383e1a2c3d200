"""Run a command from a clone that is not installed; the scripts named like a command use it."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))  # last: an installed package goes first


def open_door(command: str) -> None:
    """Run `basicsr COMMAND` with the script's arguments, and exit."""
    from hmaca_arch.cli import main

    main([command, *sys.argv[1:]])


if __name__ == '__main__':
    print('usage: python scripts/COMMAND.py ...; this file is no command itself')
