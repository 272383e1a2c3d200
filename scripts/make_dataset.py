#!/usr/bin/env python
"""Make (lq, mask, gt) triplets from clean pictures: `basicsr make-dataset` for a clone that is not installed."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))  # last: an installed package goes first

from datasets_ext.make_dataset import main

if __name__ == '__main__':
    sys.exit(main())
