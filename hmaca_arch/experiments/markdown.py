"""Markdown tables that a terminal shows as columns too."""

from collections.abc import Sequence


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Return rows of cells as a Markdown table.

    Args:
        rows: the first is the head. The first column is aligned left; the others, which are
            figures, right.
    """
    rows = [[cell.replace('|', '\\|') for cell in row] for row in rows]
    widths = [max(3, *map(len, column)) for column in zip(*rows)]
    rule = ['-' * widths[0], *('-' * (width - 1) + ':' for width in widths[1:])]
    lines = [
        [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:]))]
        for row in rows
    ]
    return '\n'.join(f'| {" | ".join(line)} |' for line in [lines[0], rule, *lines[1:]])
