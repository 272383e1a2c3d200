"""The console command `basicsr`. Each subcommand is a module in `hmaca_arch/commands/`."""

import os
import platform
import sys
import warnings
from collections.abc import Callable
from importlib import import_module, metadata
from typing import NoReturn

from hmaca_arch import __version__, interrupts
from hmaca_arch.messages import (
    complete_streams,
    flush_streams,
    keep_logs_printable,
    one_line,
    printable,
    say,
    shortened,
    suggestion,
)

COMMANDS = {
    'train': 'train the network of an option file',
    'test': 'measure a trained network and save the restored images',
    'check': 'check an option file, and its data',
    'restore': 'restore the masked region of an image, or of a folder of images',
    'estimate': 'measure the degradation of the masked regions of an image',
    'demo': 'open a page in the browser to try it',
    'export': 'write an HMACA as an ONNX file',
    'comfyui-install': 'put the nodes into a ComfyUI',
    'compare': 'compare networks and classical methods on the same images',
    'tables': "plan, run and tabulate the paper's tables, or another matrix of experiments",
    'make-dataset': 'make (lq, mask, gt) triplets from a folder of images',
    'make-lmdb': 'pack triplets or any folder of images as LMDB',
}

USAGE = (
    'usage: basicsr COMMAND ...\n\ncommands:\n'
    + '\n'.join(f'  {name:<17}{text}' for name, text in COMMANDS.items())
    + """

`basicsr COMMAND --help` explains each command, `basicsr --version` prints what is installed. train,
test and check write to the current folder: experiments/ (checkpoints, logs), tb_logger/, results/
and checks/. A mistake ends in one line; HMACA_TRACEBACK=1 shows the traceback as well."""
)


def end(name: str, command: Callable[[], int | None]) -> NoReturn:
    """Run a command and end the process. Every command and script ends here.

    The exit status is what `command` returns (None: 0), 1 after a mistake of the user's, which is
    printed as one line, or 130 after Ctrl-C.
    """
    try:
        _prepare_output()
        with interrupts.watched(name):
            status = _status_of(name, command)
            status = _status_of(name, flush_streams) or status
            if interrupts.asked():
                # Python's own way out could still be interrupted, and would show a traceback.
                interrupts.leave(status)
    except KeyboardInterrupt:  # while nothing watched: before the command, or after it
        interrupts.leave(interrupts.STATUS, f'{name}: interrupted\n')
    interrupts.stay_quiet_at_exit()
    sys.exit(status)


def _prepare_output() -> None:
    complete_streams()
    if hasattr(sys.stdout, 'reconfigure'):
        # File names may hold bytes that no text has.
        sys.stdout.reconfigure(errors='backslashreplace')
    keep_logs_printable()
    # What Pillow finds odd in a file is an error or a note here; in a raw warning there is
    # no file's name.
    warnings.filterwarnings('ignore', module=r'PIL\.')
    os.environ.setdefault('OPENCV_LOG_LEVEL', 'SILENT')  # the same of OpenCV, before it is imported


def _status_of(name: str, command: Callable[[], int | None]) -> int:
    """Run a command, print what went wrong, and return the exit status."""
    try:
        return command() or 0
    except (ValueError, OSError) as error:
        if os.environ.get('HMACA_TRACEBACK'):
            raise
        several = int(os.environ.get('WORLD_SIZE', 1)) > 1
        where = f' in process {os.environ.get("RANK")}' if several else ''
        for line in getattr(error, 'lines', [one_line(error)]):
            say(f'{name}: error{where}: {shortened(printable(line))}', file=sys.stderr)
        return 1
    except SystemExit as end:  # argparse's, and training.stopping.Stopped
        if not isinstance(end.code, int):
            raise
        return end.code
    except BaseException as error:
        # Libraries turn a KeyboardInterrupt into another error: numpy into an ImportError.
        if not isinstance(error, KeyboardInterrupt) and not interrupts.raised():
            raise
        details = f'; {error}' if isinstance(error, KeyboardInterrupt) and str(error) else ''
        say(f'{name}: interrupted{details}', file=sys.stderr)
        return interrupts.STATUS


def versions() -> str:
    """Return the versions that matter in a bug report as one line, without importing anything."""
    found = [f'hmaca {__version__}']
    for package in ('basicsr', 'torch'):
        try:
            found.append(f'{package} {metadata.version(package)}')
        except metadata.PackageNotFoundError:
            found.append(f'{package} is not installed')
    return ', '.join([*found, f'Python {platform.python_version()}', platform.platform()])


def run_command(argv: list[str]) -> int | None:
    """Run the command that `argv` names, or print the usage; return the exit status."""
    if not argv or argv[0] in ('-h', '--help'):
        say(USAGE)
        return 0 if argv else 2
    if argv[0] == '--version':
        say(versions())
        return 0
    name, *arguments = argv
    if name not in COMMANDS:
        hint = suggestion(name, COMMANDS)
        say(f'basicsr: error: there is no command {name!r}{hint}', file=sys.stderr)
        return 2
    # Imported here, so that `--help` answers at once.
    module = import_module(f'hmaca_arch.commands.{name.replace("-", "_")}')
    return module.main(arguments)


def main(argv: list[str] | None = None) -> NoReturn:
    """Run a command and exit as `end` does, or with 2 for a wrong command line."""
    argv = sys.argv[1:] if argv is None else argv
    name = f'basicsr {argv[0]}' if argv and argv[0] in COMMANDS else 'basicsr'
    end(name, lambda: run_command(argv))


if __name__ == '__main__':
    main()
