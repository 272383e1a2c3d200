"""`basicsr demo`: a page in the browser on which to try a network."""

import argparse
import os
from pathlib import Path

from hmaca_arch import devices
from hmaca_arch.inference import load_restorer
from hmaca_arch.page import demo
from hmaca_arch.page.guard import read_auth, read_host

DESCRIPTION = """Open a page in the browser on which to try a network: open a picture, paint a region, damage it if you like, restore it.
Without --weights the ones that ship with the package are used. Ctrl-C ends it."""


def main(argv: list[str]) -> None:
    """Serve the page until Ctrl-C.

    Raises:
        OSError, ValueError: a mistake; nothing was started.
    """
    parser = argparse.ArgumentParser(prog='basicsr demo', description=DESCRIPTION)
    add = parser.add_argument
    add(
        '--weights',
        type=Path,
        metavar='FILE',
        help='a checkpoint, net_g_*.pth; it says which network it is',
    )
    add('--device', default='auto', metavar='NAME', help=devices.HELP)
    add(
        '--host',
        default='127.0.0.1',
        help='the address to serve at (127.0.0.1: this machine alone; 0.0.0.0: whoever reaches it)',
    )
    add('--port', type=int, default=7860, metavar='N', help='(7860); 0: any free one')
    add(
        '--allow-host',
        action='append',
        default=[],
        metavar='NAME',
        help='a further name the page is served under; may be repeated',
    )
    add(
        '--auth',
        metavar='USER:PASSWORD',
        help='ask for them; HMACA_AUTH in the environment does the same and is in no process list',
    )
    args = parser.parse_args(argv)
    auth = args.auth or os.environ.get('HMACA_AUTH')
    auth, names = auth and read_auth(auth), [read_host(name) for name in args.allow_host]
    demo.serve(load_restorer(args.weights, args.device), args.host, args.port, names, auth or None)
