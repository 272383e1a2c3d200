"""What training prints, as data: `experiments/NAME/log.jsonl`, a JSON object a line."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hmaca_arch.files.atomic import write_atomically

NAME = 'log.jsonl'


def cut(path: Path, iteration: int) -> None:
    """Drop what is later than the iteration that a run goes on from, and what a kill left
    half-written.
    """
    if not path.exists():
        return
    lines = path.read_bytes().splitlines(keepends=True)
    kept = [line for line in lines if _iteration(line) <= iteration]
    if kept != lines:
        write_atomically(path, b''.join(kept))


def _iteration(line: bytes) -> float:
    """The iteration of a line; infinite for what is no whole line."""
    try:
        return json.loads(line)['iter'] if line.endswith(b'\n') else math.inf
    except (ValueError, KeyError, TypeError):
        return math.inf


def append(path: Path, values: Mapping[str, Any]) -> None:
    """Add a line; numbers that JSON does not have (inf, nan) become null."""
    finite = {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in values.items()
    }
    with open(path, 'a', encoding='utf-8', newline='\n') as file:
        file.write(
            json.dumps(finite) + '\n'
        )  # one write, and closed: a kill loses one line at most
