"""The console command `basicsr`: BasicSR has none of its own. `commands/NAME.py` does what a
command says.
"""

import os
import platform
import sys
from collections.abc import Callable
from importlib import import_module, metadata
from typing import NoReturn

from hmaca_arch import __version__, interrupts
from hmaca_arch.messages import keep_logs_printable, one_line, printable, say, suggestion

COMMANDS = {
    'train': 'train a network as an option file says',
    'test': 'measure a trained network as an option file says, and write its pictures',
    'check': 'say what is wrong with an option file, and with its data',
    'restore': 'restore the masked region of a picture, or of a folder of pictures',
    'estimate': 'measure what was done to the masked regions of an image',
    'demo': 'a page in the browser to try it on',
    'export': 'write an HMACA as an ONNX file',
    'compare': 'compare networks and classical methods on the same pictures',
    'tables': "the paper's tables: plan, run and tabulate a matrix of experiments",
    'make-dataset': 'make (lq, mask, gt) triplets from a folder of pictures',
    'make-lmdb': 'pack triplets or any folder of pictures as LMDB',
}

USAGE = (
    'usage: basicsr COMMAND ...\n\ncommands:\n'
    + '\n'.join(f'  {name:<14}{text}' for name, text in COMMANDS.items())
    + """

`basicsr COMMAND --help` explains each, `basicsr --version` says what is installed. train, test and check write below the current folder: experiments/ (checkpoints, logs),
tb_logger/, results/, checks/. A user's mistake ends in one line; HMACA_TRACEBACK=1 shows where it came from."""
)


def end(name: str, call: Callable[[], int | None]) -> NoReturn:
    """Make the call that a command is, and end the process. Every command and script ends here.

    The exit status is what `call` returns (None: 0), 1 after a user's mistake, which is told in one
    line, or 130 after Ctrl-C.
    """
    if hasattr(sys.stdout, 'reconfigure'):
        sys.stdout.reconfigure(
            errors='backslashreplace'
        )  # file names need not be text, as on stderr
    keep_logs_printable()
    with interrupts.watched(name):
        status = _status_of(name, call)
        if interrupts.asked():
            # Python's own way out could still be interrupted, and would show a traceback.
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            interrupts.leave(status)
    sys.exit(status)


def _status_of(name: str, call: Callable[[], int | None]) -> int:
    """Make the call, tell what went wrong, and return the exit status."""
    try:
        return call() or 0
    except (ValueError, OSError) as error:
        if os.environ.get('HMACA_TRACEBACK'):
            raise
        several = int(os.environ.get('WORLD_SIZE', 1)) > 1
        where = f' in process {os.environ.get("RANK")}' if several else ''
        for line in map(printable, getattr(error, 'lines', [one_line(error)])):
            say(f'{name}: error{where}: {line}', file=sys.stderr)
        return 1
    except SystemExit as end:  # argparse's, and training.stopping.Stopped
        if not isinstance(end.code, int):
            raise
        return end.code
    except BaseException as error:
        # Libraries make another error of a KeyboardInterrupt: numpy an ImportError, for one.
        if not isinstance(error, KeyboardInterrupt) and not interrupts.raised():
            raise
        more = str(error) if isinstance(error, KeyboardInterrupt) else ''
        say(f'{name}: interrupted{f"; {more}" if more else ""}', file=sys.stderr)
        return interrupts.STATUS


def versions() -> str:
    """Return one line with the versions that matter in a report; nothing of them is imported."""
    found = [f'hmaca {__version__}']
    for package in ('basicsr', 'torch'):
        try:
            found.append(f'{package} {metadata.version(package)}')
        except metadata.PackageNotFoundError:
            found.append(f'{package} is not installed')
    return ', '.join([*found, f'Python {platform.python_version()}', platform.platform()])


def command(argv: list[str]) -> int | None:
    """Run the command that `argv` names, or show how; returns its exit status."""
    if not argv or argv[0] in ('-h', '--help'):
        say(USAGE)
        return 0 if argv else 2
    if argv[0] == '--version':
        say(versions())
        return 0
    name, *rest = argv
    if name not in COMMANDS:
        say(
            f'basicsr: error: there is no command {name!r}{suggestion(name, COMMANDS)}',
            file=sys.stderr,
        )
        return 2
    return import_module(f'hmaca_arch.commands.{name.replace("-", "_")}').main(
        rest
    )  # late, so that `--help` answers at once


def main(argv: list[str] | None = None) -> NoReturn:
    """Entry point; exits as `end` says, and with 2 for a wrong command line."""
    argv = sys.argv[1:] if argv is None else argv
    end(
        ' '.join(['basicsr', *(argv[:1] if argv and argv[0] in COMMANDS else ())]),
        lambda: command(argv),
    )


if __name__ == '__main__':
    main()
