"""`basicsr demo`: a page in the browser on which to restore regions of images."""

import os
from pathlib import Path

from hmaca_arch import devices
from hmaca_arch.commands.parsing import Parser
from hmaca_arch.inference import load_restorer
from hmaca_arch.page import demo
from hmaca_arch.page.addresses import read_auth, read_host, read_root_path

DESCRIPTION = """Serve a page in the browser: open an image, paint a region, restore it, save the
result. Programs send image and mask to api/restore. Without --weights the ones that ship with the
package are used. Ctrl-C ends it."""


def main(argv: list[str]) -> None:
    """Serve the page until Ctrl-C.

    Raises:
        OSError, ValueError: a mistake; nothing was started.
    """
    parser = Parser(prog='basicsr demo', description=DESCRIPTION)
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
        help='the address to serve at (127.0.0.1: this machine alone; 0.0.0.0: all who reach it)',
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
        '--root-path',
        default='',
        metavar='PATH',
        help='the path under which a proxy serves the page, such as /restore',
    )
    add(
        '--auth',
        metavar='USER:PASSWORD',
        help='ask for them; HMACA_AUTH in the environment does the same and is in no process list',
    )
    args = parser.parse_args(argv)
    auth = args.auth or os.environ.get('HMACA_AUTH')
    auth, names = auth and read_auth(auth), [read_host(name) for name in args.allow_host]
    root_path = read_root_path(args.root_path)
    restorer = load_restorer(args.weights, args.device)
    demo.serve(restorer, args.host, args.port, names, auth or None, root_path)
