#!/usr/bin/env python
"""Compare networks and classical methods on the same pictures: one table, intervals, cost, figures of every picture, a contact sheet."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))  # last: an installed package goes first

if __name__ == '__main__':
    import datasets_ext  # noqa: F401
    from hmaca_arch.experiments.comparison.command import run
    from hmaca_arch.files.outputs import run_command

    sys.exit(run_command('compare', run, None))
