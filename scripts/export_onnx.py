#!/usr/bin/env python
"""Write an HMACA as an ONNX file; see hmaca_arch/export/onnx_export.py."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))  # last: an installed package goes first

from hmaca_arch.export.onnx_export import main

if __name__ == '__main__':
    sys.exit(main())
