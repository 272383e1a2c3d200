"""The log of a training as data: `experiments/NAME/log.jsonl`, one JSON object a line."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hmaca_arch.files import atomic

NAME = 'log.jsonl'


def cut(path: Path, iteration: int) -> None:
    """Drop lines after the iteration that a run resumes from, and a line that a kill tore."""
    if not path.exists():
        return
    lines = path.read_bytes().splitlines(keepends=True)
    kept = [line for line in lines if _iteration(line) <= iteration]
    if kept != lines:
        atomic.write_atomically(path, b''.join(kept))


def _iteration(line: bytes) -> float:
    """Return the iteration of a line; infinite if the line is not complete."""
    try:
        return json.loads(line)['iter'] if line.endswith(b'\n') else math.inf
    except (ValueError, KeyError, TypeError):
        return math.inf


def append(path: Path, values: Mapping[str, Any]) -> None:
    """Append a line. Numbers that JSON does not have (inf, nan) become null."""
    finite = {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in values.items()
    }
    atomic.append(path, json.dumps(finite) + '\n')
