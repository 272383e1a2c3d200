#!/usr/bin/env python
"""Pack triplets or pictures as LMDB: `basicsr make-lmdb` for a clone that is not installed."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))  # last: an installed package goes first

from datasets_ext.make_lmdb import main

if __name__ == '__main__':
    sys.exit(main())
