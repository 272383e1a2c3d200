"""Guard the page of `basicsr demo`: ASGI middleware between the network and Gradio.

Gradio hands out any file that a request names, and answers to any host name and any origin. `Guard`
answers to the page's own addresses, to requests of its own origin, and to who knows the password if
there is one. What it lets through goes to `sessions.Sessions`, which decides what a request may
name.
"""

import base64
import hmac
import ipaddress
import json
import re
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[dict]]
Send = Callable[[dict], Awaitable[None]]

# Browsers then ask no other host for anything, whatever the page says; Gradio's own scripts need
# `unsafe-`.
HEADERS = [
    (
        b'content-security-policy',
        b"default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; frame-ancestors 'none'",
    ),
    (b'x-content-type-options', b'nosniff'),
    (b'referrer-policy', b'same-origin'),
    (b'cross-origin-resource-policy', b'same-origin'),
]
MOST_READ = 128 << 20  # bytes of a request that is too large, so that its client reads the answer
LOOPBACK = ('127.0.0.1', 'localhost', '[::1]')
ADDRESS = re.compile(r'(?P<name>\[[0-9a-f:.]+\]|[a-z0-9_-][a-z0-9._-]*)(:(?P<port>[0-9]{1,5}))?')


class Refused(Exception):
    """A request that is answered here.

    Args:
        status: the HTTP status.
        message: one line for whoever asked.
        headers: further headers of the answer.
    """

    def __init__(
        self, status: int, message: str, headers: Iterable[tuple[bytes, bytes]] = ()
    ) -> None:
        self.status, self.message, self.headers = status, message, list(headers)
        super().__init__(message)


def is_loopback(host: str) -> bool:
    """Say whether only this machine reaches an address; a name other than localhost counts as
    reached by others.
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == 'localhost'


def read_auth(text: str) -> bytes:
    """Turn USER:PASSWORD into what a browser sends for it.

    Raises:
        ValueError: one of them is missing. The message does not repeat them.
    """
    user, _, password = text.partition(':')
    if not user or not password:
        raise ValueError(
            '--auth (or HMACA_AUTH) is not USER:PASSWORD; expected a name, a colon and a password'
        )
    return base64.b64encode(text.encode())


def read_host(name: str) -> str:
    """Check what is given as --allow-host.

    Raises:
        ValueError: it is not NAME or NAME:PORT.
    """
    if not ADDRESS.fullmatch(name.lower()):
        raise ValueError(
            f'--allow-host is {name!r}; expected a host name such as demo.example.org, or NAME:PORT'
        )
    return name.lower()


def named_hosts(host: str, port: int, more: Iterable[str] = ()) -> set[str]:
    """List the values of the Host header that mean the page, as NAME:PORT, or NAME for the default
    ports.

    Args:
        host, port: where the page is served.
        more: further names, with a port or without.
    """
    names = {f'[{host}]' if ':' in host else host.lower(), *more}
    if is_loopback(host) or host in ('0.0.0.0', '::'):
        names |= {*LOOPBACK}
    hosts = set()
    for name in names:
        given = ADDRESS.fullmatch(name)
        hosts.add(name if given and given['port'] else f'{name}:{port}')
    return {without_default_port(name) for name in hosts | {*more}}


def without_default_port(address: str) -> str:
    return re.sub(r':(80|443)$', '', address)


def header(scope: Scope, name: bytes) -> str | None:
    """Read a header that may be there once.

    Raises:
        Refused: it is there twice.
    """
    values = [value for key, value in scope['headers'] if key.lower() == name]
    if len(values) > 1:
        raise Refused(
            400, f'the header {name.decode()} is there {len(values)} times; expected once'
        )
    return values[0].decode('latin-1') if values else None


class Guard:
    """Pass an ASGI application the requests of the page itself, and answer those that it refuses.

    Args:
        app: the application; it may raise `Refused` before it answers.
        host, port: where the page is served; with 0.0.0.0 or :: every IP address of that port means
            the page.
        names: further host names of the page.
        auth: what `read_auth` gives; None lets everyone in.
    """

    def __init__(
        self,
        app: Callable,
        host: str,
        port: int,
        names: Iterable[str] = (),
        auth: bytes | None = None,
    ) -> None:
        self.app, self.auth = app, auth
        self.port, self.hosts, self.any_ip = (
            port,
            named_hosts(host, port, names),
            host in ('0.0.0.0', '::'),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope['type'] == 'lifespan':
            await self.app(scope, receive, send)
        elif scope['type'] != 'http':
            await send(
                {'type': 'websocket.close', 'code': 1008}
            )  # the page has none; servers make a 403 of it
        else:
            await self._answer(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_guarded(message: dict) -> None:
            if message['type'] == 'http.response.start':
                kept = [
                    item
                    for item in message.get('headers', ())
                    if not item[0].lower().startswith(b'access-control-')
                ]
                message = {**message, 'headers': [*kept, *HEADERS]}
            await send(message)

        try:
            self._check_address(scope)
            self._check_auth(scope)
            self._check_origin(scope)
            # Gradio believes these: with them a client would choose the address that the page's
            # links lead to.
            kept = [
                item
                for item in scope['headers']
                if not item[0].lower().startswith((b'x-forwarded', b'x-gradio'))
            ]
            await self.app({**scope, 'headers': kept}, receive, send_guarded)
        except Refused as refusal:
            await self._refuse(refusal, scope, receive, send_guarded)

    async def _refuse(self, refusal: Refused, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer in a line. Some of a body that is too large is read first, or clients do not read
        the answer.
        """
        read, more = 0, refusal.status == 413
        while more and read < MOST_READ:
            message = await receive()
            read += len(message.get('body', b''))
            more = message.get('more_body', False)
        body = json.dumps({'detail': refusal.message}).encode()
        headers = [
            (b'content-type', b'application/json'),
            (b'content-length', b'%d' % len(body)),
            *refusal.headers,
        ]
        await send({'type': 'http.response.start', 'status': refusal.status, 'headers': headers})
        await send(
            {'type': 'http.response.body', 'body': b'' if scope['method'] == 'HEAD' else body}
        )

    def _check_address(self, scope: Scope) -> None:
        """Refuse other names, which a site can make mean 127.0.0.1 (DNS rebinding); an IP address
        cannot be made to.
        """
        host = (header(scope, b'host') or '').lower()
        found = ADDRESS.fullmatch(host)
        if without_default_port(host) in self.hosts:
            return
        if self.any_ip and found and int(found['port'] or 80) == self.port:
            try:
                ipaddress.ip_address(found['name'].strip('[]'))
                return
            except ValueError:
                pass
        raise Refused(
            403,
            'the page is not served under this name: use the address that it printed, or start it with --allow-host NAME',
        )

    def _check_auth(self, scope: Scope) -> None:
        if self.auth is None:
            return
        kind, _, given = (header(scope, b'authorization') or '').partition(' ')
        if kind.lower() != 'basic' or not hmac.compare_digest(
            given.strip().encode('latin-1'), self.auth
        ):
            raise Refused(
                401,
                'a name and a password are needed',
                [(b'www-authenticate', b'Basic realm="basicsr demo", charset="UTF-8"')],
            )

    def _check_origin(self, scope: Scope) -> None:
        """Refuse what another site's page asks for; a link to the page itself may be followed from
        anywhere.
        """
        origin, referer = header(scope, b'origin'), header(scope, b'referer')
        site = header(scope, b'sec-fetch-site') or 'none'
        foreign = site not in ('none', 'same-origin') or (
            referer is not None and not self._is_own(scope, referer)
        )
        followed = scope['method'] in ('GET', 'HEAD') and scope['path'] == '/'
        followed = followed and (
            header(scope, b'sec-fetch-mode'),
            header(scope, b'sec-fetch-dest'),
        ) == ('navigate', 'document')
        if (foreign and not followed) or (origin is not None and not self._is_own(scope, origin)):
            raise Refused(403, 'the request comes from the page of another site')

    def _is_own(self, scope: Scope, url: str) -> bool:
        start = re.match(r'https?://([^/?#]*)', url.lower())
        host = header(scope, b'host') or ''
        return bool(start) and without_default_port(start[1]) in self.hosts | {
            without_default_port(host.lower())
        }
