"""Restore all files of a request, tell how it goes, and write the report."""

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tqdm import tqdm

from hmaca_arch.files.atomic import write_atomically
from hmaca_arch.files.image_files import is_lossy
from hmaca_arch.files.outputs import output_folder
from hmaca_arch.messages import one_line, printable, say
from hmaca_arch.restoring.folders import REFUSED, SKIPPED, Left, real_path
from hmaca_arch.restoring.image_jobs import COPIED, DONE, Progress, restore_file
from hmaca_arch.restoring.planning import Job, Plan, Request, make_plan

STATUSES = (DONE, COPIED, REFUSED, SKIPPED)
MOST_LINES = 20  # about files that are skipped; the report has all
BAR = '{desc} {percentage:3.0f}%|{bar}| {elapsed}<{remaining}'


def restore_files(
    request: Request, load: Callable[[], Any], facts: dict[str, Any], read: Sequence[Path] = ()
) -> int:
    """Restore all files of a request.

    Args:
        request: what and how.
        load: makes the `Restorer`, once it is clear that there is something to do.
        facts: what the report says besides, as the weights.
        read: files that the command reads besides; the report must not replace them.

    Returns:
        The exit status: 0 if all went well, 1 if something was refused.

    Raises:
        OSError, ValueError: a mistake that concerns everything; nothing was done.
    """
    plan = make_plan(request)
    if request.report is not None:
        check_report(request, plan, read)
    restorer = load()
    facts = facts | {'network': type(restorer.network).__name__, 'device': str(restorer.device)}
    entries: list[dict[str, Any]] = []
    try:
        tell_left(plan.left)
        tell_quality(request, plan)
        with shown_progress(plan.jobs) as follow:
            for job in plan.jobs:
                entries.append(attempt(job, restorer, request, follow(job)))
    finally:
        entries += [
            {'file': str(path), 'status': status, 'reason': reason}
            for path, status, reason in plan.left
        ]
        if request.report is not None:
            text = json.dumps(report_of(request, facts, entries, plan), indent=1) + '\n'
            write_atomically(request.report, text.encode())
    summarize(request, plan, entries)
    return int(any(entry['status'] == REFUSED for entry in entries))


def attempt(job: Job, restorer: Any, request: Request, progress: Progress) -> dict[str, Any]:
    """Restore one file and tell what is to be told; returns its entry in the report."""
    shown = printable(job.image)
    try:
        entry = restore_file(job, restorer, request, progress)
    # RuntimeError: torch's, of memory too
    except (OSError, ValueError, RuntimeError, MemoryError) as error:
        reason = one_line(error)[:500].removeprefix(f'{shown}: ')
        tell(f'error: {shown}: {reason}')
        return {'file': str(job.image), 'status': REFUSED, 'reason': reason}
    for note in entry['notes']:
        tell(f'note: {shown}: {note}')
    return entry


def tell_left(left: Sequence[Left]) -> None:
    """Name the files that are not restored, and why; of many that are skipped the first."""
    for path, status, reason in left:
        if status == REFUSED:
            tell(f'error: {printable(path)}: {reason}')
    skipped = [one for one in left if one.status == SKIPPED]
    for path, _, reason in skipped[:MOST_LINES]:
        tell(f'skipped: {printable(path)}: {reason}')
    if len(skipped) > MOST_LINES:
        tell(f'skipped: {len(skipped) - MOST_LINES} more; --json FILE lists all')


def tell_quality(request: Request, plan: Plan) -> None:
    """Say that a quality is asked for and no output takes one."""
    outputs = [job.output for job in plan.jobs if not job.copied]
    if request.quality is None or not outputs:
        return
    if not any(is_lossy(path, request.quality) for path in outputs):
        tell('note: --quality is of JPEG, WebP, AVIF and HEIC; no output is stored with loss')


@contextmanager
def shown_progress(jobs: Sequence[Job]) -> Iterator[Callable[[Job], Progress]]:
    """Show one bar over all tiles of all images, with the time left, on a terminal.

    Yields:
        A function that is called with each job and returns what to tell its progress.
    """
    number = 0
    # nrows: on terminals that name no size tqdm would hide the bar
    with tqdm(total=float(len(jobs)), bar_format=BAR, disable=None, leave=False, nrows=24) as bar:

        def follow(job: Job) -> Progress:
            nonlocal number
            start, number = number, number + 1
            bar.set_description_str(f'{number}/{len(jobs)} {printable(job.image.name)}')
            bar.update(start - bar.n)

            def progress(done: int, total: int) -> None:
                bar.update(start + done / total - bar.n)

            return progress

        yield follow


def summarize(request: Request, plan: Plan, entries: Sequence[dict[str, Any]]) -> None:
    """Print what was done: a line about one image, or the numbers of many."""
    if len(plan.jobs) == 1 and not plan.left:
        for entry in entries:
            if entry['status'] != REFUSED:
                verified = ', verified' if entry['verified'] else ''
                regions = counted(entry['regions'], 'region')
                say(f'{printable(entry["output"])}: {regions}, {entry["seconds"]:.1f} s{verified}')
        return
    count = Counter(entry['status'] for entry in entries)
    numbers = ', '.join(f'{count[status]} {status}' for status in STATUSES)
    verified = ', verified' if request.verify and count[DONE] + count[COPIED] else ''
    say(f'{printable(request.output)}: {numbers}{verified}')


def check_report(request: Request, plan: Plan, others: Sequence[Path]) -> None:
    """Refuse a report that cannot be written, or would replace a file of this command.

    Raises:
        OSError, ValueError: it is so.
    """
    path = request.report
    assert path is not None
    files = [*others]
    for job in plan.jobs:
        files += [file for file in (job.image, job.mask, job.output) if file]
    if real_path(path) in {real_path(file) for file in files}:
        raise ValueError(
            f'--json: {path} is an image, mask, output or checkpoint of this command; '
            'expected a file of its own'
        )
    if path.is_dir():
        raise ValueError(f'--json: {path} is a folder; expected a file, as report.json')
    if path.exists() and not request.overwrite:
        raise ValueError(f'--json: {path} exists; --overwrite replaces it')
    if not path.absolute().parent.is_dir():
        raise FileNotFoundError(f'--json: the folder {path.absolute().parent} does not exist')
    output_folder(path.absolute().parent, '--json')


def report_of(
    request: Request, facts: dict[str, Any], entries: Sequence[dict[str, Any]], plan: Plan
) -> dict[str, Any]:
    """Return the report's content."""
    count = Counter(entry['status'] for entry in entries)
    return {
        **facts,
        'settings': {**request.settings, 'degradation': str(request.degradation)},
        'asked': len(plan.jobs) + len(plan.left),
        **{status: count[status] for status in STATUSES},
        'files': list(entries),
    }


def tell(line: str) -> None:
    """Print a line on stderr, above the progress bar."""
    with tqdm.external_write_mode(sys.stderr):
        say(f'basicsr restore: {printable(line)}', sys.stderr)


def counted(number: int, what: str) -> str:
    """Write a number with its noun."""
    return f'{number} {what}{"" if number == 1 else "s"}'
