"""What a run leaves beside its results, in UTF-8 whatever the system's own encoding is."""

import logging
import os
import sys
import time
from pathlib import Path

from basicsr.utils import get_root_logger
from basicsr.utils.dist_util import master_only

from hmaca_arch.files.atomic import write_atomically


@master_only
def copy_option_file(path: str, folder: str) -> None:
    """Copy an option file into the run's folder, below the time and the command line."""
    command = ' '.join(' '.join(sys.argv).split())  # arguments may hold line breaks
    head = f'# GENERATE TIME: {time.asctime()}\n# CMD:\n# {command}\n\n'
    target = os.path.join(folder, os.path.basename(path))
    write_atomically(target, head.encode(errors='backslashreplace') + Path(path).read_bytes())


def root_logger(*arguments, **more) -> logging.Logger:
    """As BasicSR's `get_root_logger`, with log files in UTF-8: names of data sets need not be
    ASCII.
    """
    logger = get_root_logger(*arguments, **more)
    for handler in logger.handlers:
        if isinstance(handler, logging.FileHandler) and handler.stream is not None:
            handler.stream.reconfigure(encoding='utf-8', errors='backslashreplace')
    return logger
