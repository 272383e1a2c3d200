"""The console command `basicsr`: BasicSR has none of its own.

`train` and `test` run BasicSR's unchanged pipelines below the current folder; `check` looks before they do; `restore` and `demo` apply a
trained network; the others prepare data.
"""

import os
import re
import sys

COMMANDS = {
    'train': 'train a network as an option file says',
    'test': 'measure a trained network as an option file says, and write its pictures',
    'check': 'say what is wrong with an option file, and with its data',
    'restore': 'restore the masked region of a picture, or of a folder of pictures',
    'estimate': 'measure what was done to the masked regions of an image',
    'demo': 'a page in the browser to try it on',
    'make-dataset': 'make (lq, mask, gt) triplets from a folder of pictures',
    'make-lmdb': 'pack triplets or any folder of pictures as LMDB',
}

USAGE = (
    'usage: basicsr COMMAND ...\n\ncommands:\n'
    + '\n'.join(f'  {name:<14}{text}' for name, text in COMMANDS.items())
    + """

`basicsr COMMAND --help` explains each. train, test and check write below the current folder: experiments/ (checkpoints, logs),
tb_logger/, results/, checks/. A user's mistake ends in one line; HMACA_TRACEBACK=1 shows where it came from."""
)


def run(command: str, argv: list[str]) -> int | None:
    """Run one command. Imports are late, so that `--help` answers at once."""
    if command in ('train', 'test', 'check'):
        import losses_ext  # noqa: F401
        from datasets_ext import check_data
        from hmaca_arch.commands import check
        from hmaca_arch.training import pipeline as training

        if command == 'check':
            return check.main(argv, root_path=os.getcwd(), scan=check_data.scan)
        return training.run(command, argv, root_path=os.getcwd())
    if command == 'restore':
        from hmaca_arch.commands import restore as restore_command

        return restore_command.main(argv)
    if command == 'estimate':
        from hmaca_arch.commands import estimate

        return estimate.main(argv)
    if command == 'demo':
        from hmaca_arch.page import demo

        return demo.main(argv)
    if command == 'make-dataset':
        from datasets_ext import make_dataset

        return make_dataset.main(argv)
    from datasets_ext import make_lmdb

    return make_lmdb.main(argv)


def one_line(error: Exception) -> str:
    """The message; of an error in a loader's process, which carries that process's traceback, what stands at its end."""
    text = str(error).strip() or type(error).__name__
    if text.startswith('Caught '):
        text = re.split(rf'^(?:[\w.]*\.)?{type(error).__name__}: ', text, flags=re.MULTILINE)[-1]  # a file's name may hold line breaks
    return ' '.join(text.split())


def main(argv: list[str] | None = None) -> None:
    """Entry point; exits with 0, with 1 after a user's mistake, with 2 for a wrong command line, with 130 after Ctrl-C."""
    argv = sys.argv[1:] if argv is None else argv
    if hasattr(sys.stdout, 'reconfigure'):
        sys.stdout.reconfigure(errors='backslashreplace')  # file names need not be text, as on stderr
    if not argv or argv[0] in ('-h', '--help'):
        print(USAGE)
        sys.exit(0 if argv else 2)
    command, *rest = argv
    if command not in COMMANDS:
        from difflib import get_close_matches

        near = get_close_matches(command, COMMANDS, n=1)
        hint = f'did you mean {near[0]}?' if near else f'commands: {", ".join(COMMANDS)}'
        print(f'basicsr: error: there is no command {command!r} ({hint})', file=sys.stderr)
        sys.exit(2)
    try:
        sys.exit(run(command, rest))
    except (ValueError, OSError) as error:
        if os.environ.get('HMACA_TRACEBACK'):
            raise
        several = int(os.environ.get('WORLD_SIZE', 1)) > 1
        where = f' in process {os.environ.get("RANK")}' if several else ''
        for line in getattr(error, 'lines', [one_line(error)]):
            print(f'basicsr {command}: error{where}: {line}', file=sys.stderr, flush=True)
        sys.exit(1)
    except KeyboardInterrupt:
        print(f'basicsr {command}: interrupted', file=sys.stderr)
        sys.exit(130)


if __name__ == '__main__':
    main()
