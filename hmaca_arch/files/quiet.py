"""Hide what C libraries print while they decode.

libpng, libtiff and OpenCV write their own words about files to stderr. What matters of them is an
exception, or a note that names the file. Only restoring uses it: a training tells of signals on
stderr at any moment.
"""

import contextlib
import os
import sys
import threading
from collections.abc import Iterator

STDERR = 2


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Point stderr's descriptor at nothing meanwhile.

    It belongs to the whole process. So it is left alone in other threads than the main one, as in a
    server, and where stderr is closed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with contextlib.ExitStack() as undo:
        with contextlib.suppress(OSError, ValueError):
            if sys.stderr is not None:
                sys.stderr.flush()
            kept = os.dup(STDERR)
            undo.callback(os.close, kept)
            nothing = os.open(os.devnull, os.O_WRONLY)
            undo.callback(os.close, nothing)
            undo.callback(os.dup2, kept, STDERR)
            os.dup2(nothing, STDERR)
        yield
