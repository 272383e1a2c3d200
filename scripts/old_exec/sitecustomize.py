"""Let `exec` write to the caller's local variables, as it did before Python 3.13 (PEP 667).

BasicSR 1.4.2's setup.py reads its version with `exec(...)` and `locals()`, which Python 3.13 and
later no longer support. Python loads this file at its start where its folder is on PYTHONPATH.
`install.py` puts it there only while BasicSR is being built.
"""

import builtins
import sys

_exec = builtins.exec


def exec_in_caller(source, *namespaces, **options):
    """Run `source`; without namespaces in the caller's, and what it assigns stays there."""
    if not namespaces and 'globals' not in options:
        caller = sys._getframe(1)
        namespaces = (caller.f_globals, caller.f_locals)
    return _exec(source, *namespaces, **options)


builtins.exec = exec_in_caller
