"""Guard the page of `basicsr demo`: ASGI middleware between the network and the application.

`Guard` answers to the page's own addresses, to requests of its own origin, and to those who know
the password, if there is one. Whatever it lets through is for the application to judge.
"""

import hmac
import ipaddress
import json
import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from hmaca_arch.page.addresses import ADDRESS, named_hosts, without_default_port

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

# Browsers then ask no other host for anything and run no other script, whatever the page says.
HEADERS = [
    (
        b'content-security-policy',
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
        b"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (b'x-content-type-options', b'nosniff'),
    (b'referrer-policy', b'same-origin'),
    (b'cross-origin-resource-policy', b'same-origin'),
    (b'cache-control', b'private, no-cache'),
]
MOST_READ = 128 << 20  # bytes of a request that is too large, so that its client reads the answer
MOST_GUESSES = 10  # wrong passwords a minute from one address
MOST_GUESSES_IN_ALL = 200  # and from all addresses
BRAKE = 60  # seconds


class Refused(Exception):
    """A request that is refused.

    Args:
        status: the HTTP status.
        message: one line for the client.
        headers: further headers of the answer.
    """

    def __init__(
        self, status: int, message: str, headers: Iterable[tuple[bytes, bytes]] = ()
    ) -> None:
        self.status, self.message, self.headers = status, message, list(headers)
        super().__init__(message)


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


class Brake:
    """Slow down who guesses passwords: so many wrong ones a minute, then none is looked at."""

    def __init__(self) -> None:
        self.since, self.wrong = time.monotonic(), Counter[str]()

    def check(self, address: str) -> None:
        """Raise Refused if this address, or all together, have guessed too often."""
        left = self.since + BRAKE - time.monotonic()
        if left <= 0:
            self.since, left = time.monotonic(), BRAKE
            self.wrong.clear()
        if self.wrong[address] >= MOST_GUESSES or self.wrong.total() >= MOST_GUESSES_IN_ALL:
            seconds = int(left) + 1
            raise Refused(
                429,
                f'too many wrong passwords: try again in {seconds} s',
                [(b'retry-after', b'%d' % seconds)],
            )

    def note(self, address: str) -> None:
        """Count a wrong password."""
        self.wrong[address] += 1


class Guard:
    """Pass requests of the page itself to an ASGI application, and refuse all others.

    Args:
        app: the application; it may raise `Refused` before it answers.
        host: the address where the page is served. With 0.0.0.0 or :: every IP address with this
            port means the page.
        port: its port.
        names: further host names of the page.
        auth: the result of `read_auth`; None lets everyone in.
        root_path: the path under which a proxy serves the page; requests may have it or not.
        is_known: returns something for a request from someone who once gave the password. Others'
            wrong guesses do not lock them out.
    """

    def __init__(
        self,
        app: App,
        host: str,
        port: int,
        names: Iterable[str] = (),
        auth: bytes | None = None,
        root_path: str = '',
        is_known: Callable[[Scope], object] = lambda scope: None,
    ) -> None:
        self.app, self.port, self.auth, self.root_path = app, port, auth, root_path
        self.hosts, self.any_ip = named_hosts(host, port, names), host in ('0.0.0.0', '::')
        self.is_known, self.brake = is_known, Brake()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        if scope['type'] == 'lifespan':
            await self.app(scope, receive, send)
        elif scope['type'] != 'http':
            # The page has no websockets. Servers answer 403.
            await send({'type': 'websocket.close', 'code': 1008})
        else:
            await self._answer(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_guarded(message: Message) -> None:
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
            scope = self._without_root_path(scope)
            self._check_origin(scope)
            await self.app(scope, receive, send_guarded)
        except Refused as refusal:
            await self._refuse(refusal, scope, receive, send_guarded)

    def _without_root_path(self, scope: Scope) -> Scope:
        """Return the request as if the page were served at /."""
        path, root = scope['path'], self.root_path
        if not root or not (path == root or path.startswith(f'{root}/')):
            return scope
        if path == root:
            raise Refused(307, f'the page is at {root}/', [(b'location', f'{root}/'.encode())])
        path = path.removeprefix(root)
        return {**scope, 'path': path, 'raw_path': path.encode()}

    async def _refuse(self, refusal: Refused, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with the refusal's line, as JSON."""
        # Clients read the answer only after they could send most of a body that is too large.
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
        """Refuse other names: a site can make its own name mean 127.0.0.1 (DNS rebinding).

        It cannot do so with an IP address.
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
            'the page is not served under this name: use the address that it printed, '
            'or start it with --allow-host NAME',
        )

    def _check_auth(self, scope: Scope) -> None:
        if self.auth is None:
            return
        given = header(scope, b'authorization')
        address = (scope.get('client') or ('',))[0]
        if given is not None and not self.is_known(scope):
            self.brake.check(address)
        kind, _, word = (given or '').partition(' ')
        if kind.lower() == 'basic' and hmac.compare_digest(
            word.strip().encode('latin-1'), self.auth
        ):
            return
        if given is not None:
            self.brake.note(address)
        raise Refused(
            401,
            'a name and a password are needed',
            [(b'www-authenticate', b'Basic realm="basicsr demo", charset="UTF-8"')],
        )

    def _check_origin(self, scope: Scope) -> None:
        """Refuse requests from another site's page. Anyone may link to the page itself."""
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
        own = self.hosts | {without_default_port(host.lower())}
        return start is not None and without_default_port(start[1]) in own
