"""`basicsr demo`: serve the page in the browser on which a region is painted and restored.

The page is served to this machine alone unless told otherwise. Nothing on it comes from or goes to
anywhere else.
"""

import shutil
import signal
import socket
import tempfile
from collections.abc import Iterable
from pathlib import Path
from types import FrameType
from typing import Any

from hmaca_arch import interrupts
from hmaca_arch.inference import Restorer
from hmaca_arch.messages import how_to_install, printable, say
from hmaca_arch.page.addresses import is_loopback
from hmaca_arch.page.guard import Guard
from hmaca_arch.page.sessions import Sessions


def check_installed() -> None:
    """Raise a ValueError if a package that the page needs is missing."""
    try:
        import python_multipart  # noqa: F401
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ModuleNotFoundError as error:
        raise ValueError(
            f'the page needs the module {error.name}: {how_to_install("demo")}'
        ) from None


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens.

    Raises:
        OSError: it cannot; in one line that says what to do.
    """
    try:
        return socket.create_server(
            (host, port), family=socket.AF_INET6 if ':' in host else socket.AF_INET
        )
    except (OSError, OverflowError) as error:
        reason = getattr(error, 'strerror', None) or error
        raise OSError(
            f'cannot listen on {host}, port {port}: {reason}; choose others (--host, --port)'
        ) from None


def handle_signals(server: Any) -> list[int]:
    """Let a uvicorn server end at the first signal; returns the list of those that came.

    It would raise the signal once more after its end, which is taken for a second Ctrl-C.
    """
    came: list[int] = []

    def end(number: int, frame: FrameType | None) -> None:
        came.append(number)
        server.should_exit = True

    server.handle_exit = end
    return came


def serve(
    restorer: Restorer,
    host: str,
    port: int,
    names: Iterable[str] = (),
    auth: bytes | None = None,
    root_path: str = '',
) -> None:
    """Serve the page until Ctrl-C.

    What is uploaded and restored lies in a temporary folder meanwhile.

    Args:
        restorer: what restores.
        host: the address to listen on.
        port: its port.
        names: see `Guard`.
        auth: see `Guard`.
        root_path: see `Guard`.

    Raises:
        ValueError: others could reach the page, and there is no password; or a package is missing.
        OSError: the address cannot be listened on.
    """
    with (
        listen(host, port) as listening,
        tempfile.TemporaryDirectory(prefix='basicsr_demo_') as folder,
    ):
        at, port = listening.getsockname()[:2]
        if auth is None and not is_loopback(at):
            raise ValueError(
                f'--host {host} lets other machines in: set a password with '
                '--auth USER:PASSWORD or HMACA_AUTH'
            )
        check_installed()
        import uvicorn

        from hmaca_arch.page.app import build_app  # late: it needs the extra
        from hmaca_arch.page.routes import Routes

        sessions = Sessions(port, root_path)
        routes = Routes(restorer, Path(folder), sessions)
        address = f'[{host}]' if ':' in host else host
        app = Guard(
            build_app(routes),
            at,
            port,
            [f'{address}:{port}'.lower(), *names],
            auth,
            root_path,
            sessions.of,
        )
        interrupts.at_last(lambda: shutil.rmtree(folder, ignore_errors=True))
        say(f'http://{address}:{port}{printable(root_path)} shows the page, Ctrl-C ends it')
        server = uvicorn.Server(
            uvicorn.Config(app, log_level='warning', timeout_graceful_shutdown=1)
        )
        ended_by = handle_signals(server)
        try:
            server.run(sockets=[listening])
        finally:
            routes.queue.close()
        if signal.SIGINT in ended_by:
            raise KeyboardInterrupt
        if ended_by:
            raise SystemExit(128 + ended_by[0])
