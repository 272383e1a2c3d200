"""Give each browser that opens the page of `basicsr demo` a session, and keep sessions apart.

Gradio takes any path in a request for a file that was uploaded. `Sessions` lets a few of its routes
through and closes the rest. A request names only files that its session uploaded or was given. A
session is a cookie that only this server can make.
"""

import asyncio
import contextlib
import hashlib
import hmac
import json
import os
import re
import secrets
import threading
import urllib.parse
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from hmaca_arch.page.guard import Receive, Refused, Scope, Send, header

LARGEST_UPLOAD = 64 << 20  # bytes of one request
LARGEST_CALL = 1 << 20  # bytes of the JSON that asks for a restoration
LARGEST_FOLDER = 1 << 30  # bytes of all sessions' files; the oldest are deleted
MOST_FILES = 2000  # in that folder
MOST_NAMES = 10_000  # files that sessions may name, the latest
API = '/gradio_api/'
# What the page and `gradio_client` ask for. All else is closed, among it: proxy=, stream, call,
# api, component_server, cancel, login, monitoring.
OPEN = re.compile(
    r'/|/config/?|/theme\.css|/favicon\.ico|/manifest\.json|/robots\.txt|/(assets|static|svelte)/[\w@~-][\w.@~-]*(/[\w@~-][\w.@~-]*)*'
    r'|/gradio_api/(info|startup-events|app_id)/?'
)
OF_SESSIONS = {
    ('GET', 'heartbeat/'): 'heartbeat',
    ('GET', 'queue/data'): 'messages',
    ('GET', 'file='): 'file',
    ('GET', 'upload_progress'): 'upload_progress',
    ('POST', 'upload'): 'upload',
    ('POST', 'queue/join'): 'call',
    ('POST', 'run/predict'): 'call',  # what is not queued: the examples
}


def paths_in(value: Any) -> Iterator[str]:
    """Find the files that an answer of Gradio names."""
    if isinstance(value, dict):
        if isinstance(value.get('path'), str):
            yield value['path']
        value = list(value.values())
    if isinstance(value, list):
        for part in value:
            yield from paths_in(part)


async def read_body(receive: Receive, most: int) -> bytes:
    """Read a request's body; Refused if it has more bytes than `most`."""
    body, more = bytearray(), True
    while more:
        message = await receive()
        if message['type'] == 'http.disconnect':
            raise Refused(400, 'the request ended early')
        body += message.get('body', b'')
        more = message.get('more_body', False)
        if len(body) > most:
            raise Refused(413, too_large(len(body), most))
    return bytes(body)


def too_large(got: int, most: int) -> str:
    return f'the request has {got / (1 << 20):.1f} MiB; expected at most {most >> 20} MiB: send a smaller image'


def give_body(body: bytes, receive: Receive) -> Receive:
    """Hand on a body that was read, and after it what the client does."""
    waiting = [{'type': 'http.request', 'body': body, 'more_body': False}]

    async def give() -> dict:
        return waiting.pop() if waiting else await receive()

    return give


def with_headers(scope: Scope, **changes: str | None) -> Scope:
    """Copy a request with headers (their names with _ for -) replaced, or removed where the value
    is None.
    """
    names = {name.replace('_', '-').encode(): value for name, value in changes.items()}
    kept = [(key, value) for key, value in scope['headers'] if key.lower() not in names]
    return {
        **scope,
        'headers': kept
        + [(key, value.encode()) for key, value in names.items() if value is not None],
    }


class Sessions:
    """Pass Gradio the requests of a session that name only the session's own files.

    Args:
        app: Gradio's application. Its own files lie in `folder` already, and every session may read
            them.
        folder: where it writes what is uploaded and restored (GRADIO_TEMP_DIR).
        port: where the page is served; two pages on one machine have two cookies.
    """

    def __init__(self, app: Callable, folder: Path, port: int) -> None:
        self.app, self.folder = app, folder
        self.cookie, self.secret = f'basicsr_demo_{port}', secrets.token_bytes(32)
        self.shared = {str(file) for file in folder.rglob('*') if file.is_file()}
        self.owned: OrderedDict[tuple[str, str], None] = OrderedDict()
        self.arriving = 0  # bytes of uploads under way
        self.deleting = threading.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope['type'] == 'http' and not (
            scope['method'] in ('GET', 'HEAD') and OPEN.fullmatch(scope['path'])
        ):
            await self._route(scope, receive, send)
            return

        if scope['type'] == 'http':
            scope = {**scope, 'query_string': b''}  # Gradio would load what a link describes

        async def send_cookie(message: dict) -> None:
            if message['type'] == 'http.response.start':
                message = {
                    **message,
                    'headers': [
                        *message.get('headers', ()),
                        (b'set-cookie', self._new_cookie().encode()),
                    ],
                }
            await send(message)

        new = (
            scope['type'] == 'http'
            and scope['path'].rstrip('/') in ('', '/config')
            and self._session(scope) is None
        )
        await self.app(scope, receive, send_cookie if new else send)

    def _sign(self, *words: str) -> str:
        return hmac.new(
            self.secret, '\0'.join(words).encode('utf-8', 'surrogatepass'), hashlib.sha256
        ).hexdigest()[:32]

    def _new_cookie(self) -> str:
        session = secrets.token_hex(16)
        return f'{self.cookie}={session}{self._sign("session", session)}; Path=/; HttpOnly; SameSite=Lax'

    def _session(self, scope: Scope) -> str | None:
        cookies = [
            value.decode('latin-1') for key, value in scope['headers'] if key.lower() == b'cookie'
        ]
        for name, _, value in (
            cookie.strip().partition('=') for cookie in ';'.join(cookies).split(';')
        ):
            if name == self.cookie and hmac.compare_digest(
                value[32:].encode(), self._sign('session', value[:32]).encode()
            ):
                return value[:32]
        return None

    async def _route(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one of the routes that need a session."""
        session = self._session(scope)
        method, path = scope['method'].replace('HEAD', 'GET'), scope['path']
        for (allowed, start), handler in OF_SESSIONS.items():
            tail = path.removeprefix(API + start)
            if (
                method == allowed
                and path.startswith(API + start)
                and (start[-1] in '/=' or tail in ('', '/'))
            ):
                if session is None:
                    raise Refused(403, 'no session: open the page first, and send its cookie')
                # Compressed answers could not be read here.
                await getattr(self, f'_{handler}')(
                    with_headers(scope, accept_encoding=None), receive, send, session, tail
                )
                return
        raise Refused(404, 'there is no such address')

    # Names that clients choose get their session in them, so that no two sessions share one.

    async def _heartbeat(
        self, scope: Scope, receive: Receive, send: Send, session: str, tail: str
    ) -> None:
        path = f'{API}heartbeat/{self._sign(session, tail)}'
        await self.app({**scope, 'path': path, 'raw_path': path.encode()}, receive, send)

    def _sign_query(self, scope: Scope, session: str, key: str) -> Scope:
        query = urllib.parse.parse_qs(scope['query_string'].decode('latin-1'), max_num_fields=20)
        names = [self._sign(session, name) for name in query.get(key, ())[:1]]
        return {**scope, 'query_string': '&'.join(f'{key}={name}' for name in names).encode()}

    async def _upload_progress(
        self, scope: Scope, receive: Receive, send: Send, session: str, tail: str
    ) -> None:
        await self.app(self._sign_query(scope, session, 'upload_id'), receive, send)

    async def _messages(
        self, scope: Scope, receive: Receive, send: Send, session: str, tail: str
    ) -> None:
        """Pass on what Gradio tells a session, and let the session read the files that it names."""
        rest = b''

        async def note(message: dict) -> None:
            nonlocal rest
            *lines, rest = (rest + message.get('body', b'')).split(b'\n')
            for line in lines:
                if line.startswith(b'data: '):
                    self._give(session, paths_in(json.loads(line[6:])))
            await send(message)

        await self.app(self._sign_query(scope, session, 'session_hash'), receive, note)

    async def _file(
        self, scope: Scope, receive: Receive, send: Send, session: str, tail: str
    ) -> None:
        if tail not in self.shared and (session, tail) not in self.owned:
            raise Refused(404, 'there is no such file of this session')
        await self.app(scope, receive, send)

    async def _upload(
        self, scope: Scope, receive: Receive, send: Send, session: str, tail: str
    ) -> None:
        length = self._length(scope, LARGEST_UPLOAD)
        if self.arriving + length > LARGEST_FOLDER:
            raise Refused(503, 'too many uploads at once: try again later')
        self.arriving += length
        try:
            await self.app(
                self._sign_query(scope, session, 'upload_id'), receive, self._note(send, session)
            )
        finally:
            self.arriving -= length
            await asyncio.to_thread(self.make_room)

    async def _call(
        self, scope: Scope, receive: Receive, send: Send, session: str, tail: str
    ) -> None:
        """Rebuild a call from what is understood of it, so that Gradio sees nothing else."""
        self._length(scope, LARGEST_CALL)
        try:
            call = json.loads(await read_body(receive, LARGEST_CALL))
            cleaned = {
                'data': [self._clean(part, session) for part in call['data']],
                'fn_index': int(call['fn_index']),
                'trigger_id': call.get('trigger_id'),
                'session_hash': self._sign(session, str(call['session_hash'])),
            }
            body = json.dumps(cleaned).encode()
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            raise Refused(
                400,
                'the call is not understood: expected JSON with data, fn_index and session_hash',
            ) from None
        await asyncio.to_thread(self.make_room)
        note = self._note(send, session)
        await self.app(
            with_headers(scope, content_length=str(len(body))), give_body(body, receive), note
        )

    def _note(self, send: Send, session: str) -> Send:
        """Pass on a JSON answer, and let the session read the files that it names: a list of paths,
        or objects with one.
        """
        answer = bytearray()

        async def note(message: dict) -> None:
            answer.extend(message.get('body', b''))
            if (
                message['type'] == 'http.response.body'
                and not message.get('more_body')
                and answer[:1] in (b'[', b'{')
            ):
                found = json.loads(answer)
                paths = (
                    [part for part in found if isinstance(part, str)]
                    if isinstance(found, list)
                    else paths_in(found)
                )
                self._give(session, paths)
            await send(message)

        return note

    def _clean(self, value: Any, session: str) -> Any:
        if isinstance(value, list):
            return [self._clean(part, session) for part in value]
        if not isinstance(value, dict):
            return value
        if 'path' in value or 'url' in value:
            path = value.get('path')
            if not isinstance(path, str) or (
                path not in self.shared and (session, path) not in self.owned
            ):
                raise Refused(
                    403, 'the call names a file that this session did not upload: upload it first'
                )
            return {'path': path, 'meta': {'_type': 'gradio.FileData'}}
        # An editor's id stands for images that came by component_server, which is closed.
        return {key: self._clean(part, session) for key, part in value.items() if key != 'id'}

    def _length(self, scope: Scope, most: int) -> int:
        """Read how long a body is, before it is read."""
        text = header(scope, b'content-length') or ''
        if not re.fullmatch('[0-9]{1,15}', text):
            raise Refused(411, 'the request does not say how long it is (Content-Length)')
        if int(text) > most:
            raise Refused(413, too_large(int(text), most))
        return int(text)

    def _give(self, session: str, paths: Iterable[str]) -> None:
        """Let a session name files that lie in the folder."""
        for path in paths:
            if path.startswith(f'{self.folder}{os.sep}'):
                self.owned[session, path] = None
                self.owned.move_to_end((session, path))
        while len(self.owned) > MOST_NAMES:
            self.owned.popitem(last=False)

    def make_room(self) -> None:
        """Delete the oldest files where the folder holds too much."""
        with self.deleting:
            files = []
            for file in self.folder.rglob('*'):
                with contextlib.suppress(OSError):  # Gradio may have renamed it
                    if file.is_file() and str(file) not in self.shared:
                        files.append((file.stat().st_mtime, file.stat().st_size, file))
            total = sum(size for _, size, _ in files)
            for number, (_, size, file) in enumerate(sorted(files)):
                if total <= LARGEST_FOLDER and len(files) - number <= MOST_FILES:
                    break
                file.unlink(missing_ok=True)
                total -= size
                with contextlib.suppress(OSError):
                    file.parent.rmdir()  # Gradio gives each file a folder
