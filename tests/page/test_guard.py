"""What the page of `basicsr demo` lets through: plain ASGI calls, without Gradio and without a
network.
"""

import asyncio
import base64
import json
import os

import pytest

from hmaca_arch.page import sessions
from hmaca_arch.page.guard import Guard, is_loopback, read_auth, read_host
from hmaca_arch.page.sessions import Sessions

OWN = '127.0.0.1:7860'


class Inner:
    """An application that notes what reaches it, and answers with `answer`, and with the open CORS
    headers of Gradio.
    """

    def __init__(self, answer=b'{}'):
        self.answer, self.seen, self.bodies = answer, [], []

    async def __call__(self, scope, receive, send):
        self.seen.append(scope)
        if scope['type'] == 'http' and scope['method'] == 'POST':
            self.bodies.append((await receive())['body'])
        headers = [
            (b'access-control-allow-origin', b'*'),
            (b'Access-Control-Allow-Credentials', b'true'),
        ]
        await send({'type': 'http.response.start', 'status': 200, 'headers': headers})
        await send({'type': 'http.response.body', 'body': self.answer})


def ask(app, method='GET', path='/', body=b'', query=b'', kind='http', **headers):
    """One request; returns the status, the headers as a dict, and the body. Of a header that is a
    list, one each.
    """
    pairs = (
        [('host', OWN), ('content_length', str(len(body)))] if method == 'POST' else [('host', OWN)]
    )
    pairs = [(name, value) for name, value in pairs if name not in headers]
    pairs += [
        (name, part)
        for name, value in headers.items()
        for part in (value if isinstance(value, list) else [value])
    ]
    coded = [
        (name.replace('_', '-').encode(), value.encode())
        for name, value in pairs
        if value is not None
    ]
    scope = {
        'type': kind,
        'method': method,
        'path': path,
        'raw_path': path.encode(),
        'query_string': query,
        'headers': coded,
    }
    sent, waiting = [], [{'type': 'http.request', 'body': body, 'more_body': False}]

    async def receive():
        return waiting.pop() if waiting else {'type': 'http.disconnect'}

    async def send(message):
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    if kind == 'websocket':
        return sent
    found = {name.decode().lower(): value.decode() for name, value in sent[0]['headers']}
    return sent[0]['status'], found, b''.join(message['body'] for message in sent[1:])


@pytest.mark.parametrize(
    ('served', 'host', 'status'),
    [
        ('127.0.0.1', '127.0.0.1:7860', 200),
        ('127.0.0.1', 'LOCALHOST:7860', 200),
        ('127.0.0.1', '[::1]:7860', 200),
        ('::1', '127.0.0.1:7860', 200),
        ('127.0.0.1', '127.0.0.1', 403),
        ('127.0.0.1', '127.0.0.1:80', 403),
        ('127.0.0.1', 'localhost:7861', 403),
        ('127.0.0.1', 'other.example:7860', 403),
        ('127.0.0.1', 'localhost.other.example:7860', 403),
        ('127.0.0.1', 'localhost:7860@other.example', 403),
        ('127.0.0.1', '10.0.0.1:7860', 403),
        ('127.0.0.1', '', 403),
        ('127.0.0.1', None, 403),
        ('127.0.0.1', [OWN, 'other.example'], 400),
        ('10.0.0.1', '10.0.0.1:7860', 200),
        ('10.0.0.1', 'localhost:7860', 403),
        ('0.0.0.0', '10.0.0.1:7860', 200),
        ('0.0.0.0', '10.0.0.1:7861', 403),
        ('::', '[fe80::1]:7860', 200),
        ('0.0.0.0', 'other.example:7860', 403),
        ('0.0.0.0', '10.0.0.1.example:7860', 403),
    ],
)
def test_names_of_the_page(served, host, status):
    inner = Inner()
    assert ask(Guard(inner, served, 7860), host=host)[0] == status
    assert len(inner.seen) == (status == 200)


def test_further_names():
    guard = Guard(Inner(), '10.0.0.1', 7860, ['demo.example.org', 'other.example:99'])
    for host, status in [
        ('demo.example.org', 200),
        ('demo.example.org:7860', 200),
        ('other.example:99', 200),
        ('other.example', 403),
    ]:
        assert ask(guard, host=host)[0] == status, host
    assert (
        ask(guard, 'POST', host='demo.example.org', origin='https://demo.example.org')[0] == 200
    )  # behind a proxy with TLS
    assert ask(guard, 'POST', host='demo.example.org', origin='https://other.example')[0] == 403


@pytest.mark.parametrize(
    ('headers', 'status'),
    [
        (
            {
                'origin': f'http://{OWN}',
                'referer': f'http://{OWN}/',
                'sec_fetch_site': 'same-origin',
            },
            200,
        ),
        ({'origin': 'http://other.example:7860'}, 403),
        ({'origin': 'http://127.0.0.1:8000'}, 403),
        ({'origin': 'http://127.0.0.1:7860.other.example'}, 403),
        ({'origin': 'http://127.0.0.1:7860@other.example'}, 403),
        ({'origin': 'null'}, 403),
        ({'origin': ''}, 403),
        ({'origin': [f'http://{OWN}', 'http://other.example']}, 400),
        ({'referer': 'http://other.example/a'}, 403),
        ({'referer': f'http://other.example/?http://{OWN}/'}, 403),
        ({'sec_fetch_site': 'cross-site'}, 403),
        ({'sec_fetch_site': 'same-site'}, 403),
        ({'sec_fetch_site': 'none'}, 200),
    ],
)
@pytest.mark.parametrize('method', ['GET', 'POST', 'OPTIONS'])
def test_origins(method, headers, status):
    inner = Inner()
    assert (
        ask(Guard(inner, '127.0.0.1', 7860), method, '/gradio_api/upload', **headers)[0] == status
    )
    assert len(inner.seen) == (status == 200)


def test_an_ip_address_is_not_the_origin_of_another():
    assert (
        ask(Guard(Inner(), '0.0.0.0', 7860), host='10.0.0.1:7860', origin='http://6.6.6.6:7860')[0]
        == 403
    )


def test_a_link_elsewhere_leads_to_the_page_and_to_nothing_else():
    guard = Guard(Inner(), '127.0.0.1', 7860)
    followed = {'referer': 'http://other.example/', 'sec_fetch_site': 'cross-site'}
    followed |= {'sec_fetch_mode': 'navigate', 'sec_fetch_dest': 'document'}
    assert ask(guard, **followed)[0] == 200
    assert ask(guard, path='/gradio_api/file=/etc/passwd', **followed)[0] == 403
    assert ask(guard, 'POST', **followed)[0] == 403
    assert ask(guard, **followed | {'sec_fetch_dest': 'iframe'})[0] == 403


def test_headers_of_answers():
    inner = Inner()
    for headers in ({}, {'origin': 'http://other.example'}):
        found = ask(
            Guard(inner, '127.0.0.1', 7860),
            x_forwarded_host='other.example',
            x_gradio_server='http://other.example',
            **headers,
        )[1]
        assert not any(name.startswith('access-control') for name in found)
        assert (
            "default-src 'self'" in found['content-security-policy']
            and "frame-ancestors 'none'" in found['content-security-policy']
        )
    assert [name for name, _ in inner.seen[0]['headers']] == [b'host']


def test_websockets_are_closed():
    inner = Inner()
    assert ask(Guard(inner, '127.0.0.1', 7860), kind='websocket') == [
        {'type': 'websocket.close', 'code': 1008}
    ]
    assert not inner.seen


def test_password():
    guard = Guard(Inner(), '127.0.0.1', 7860, auth=read_auth('me:gehäim:x'))
    given = base64.b64encode('me:gehäim:x'.encode()).decode()
    for path in ('/', '/assets/a.js', '/gradio_api/upload'):
        status, headers, _ = ask(guard, path=path)
        assert status == 401 and headers['www-authenticate'].startswith('Basic ')
        assert ask(guard, path=path, authorization=f'Basic {given}')[0] == 200
    for wrong in (f'Basic {given[:-4]}', f'Bearer {given}', 'Basic', 'Basic \xff', ''):
        assert ask(guard, authorization=wrong)[0] == 401
    assert ask(guard, host='other.example:7860', authorization=f'Basic {given}')[0] == 403


@pytest.mark.parametrize('text', ['me', 'me:', ':secret', ''])
def test_a_password_that_is_none_is_not_repeated(text):
    with pytest.raises(ValueError, match='expected a name, a colon and a password') as error:
        read_auth(text)
    assert 'secret' not in str(error.value)


def test_what_is_loopback_and_what_a_name():
    assert [is_loopback(host) for host in ('127.0.0.1', '127.9.9.9', '::1', 'localhost')] == [
        True
    ] * 4
    assert not any(map(is_loopback, ('0.0.0.0', '::', '10.0.0.1', 'localhost.example', '')))
    assert read_host('Demo.Example:80') == 'demo.example:80'
    for name in ('http://a', 'a/b', 'a b', '', '*', 'a:b'):
        with pytest.raises(ValueError, match='expected a host name'):
            read_host(name)


# Sessions


@pytest.fixture
def pages(tmp_path):
    """Sessions around an `Inner`, behind a guard; an example's file in the folder; the cookies of
    two sessions.
    """
    inner, folder = Inner(), tmp_path / 'pages'
    folder.mkdir()
    (folder / 'example.png').write_bytes(b'example')
    app = Guard(Sessions(inner, folder, 7860), '127.0.0.1', 7860)
    app.inner, app.folder = inner, folder
    app.cookies = [ask(app)[1]['set-cookie'].split(';')[0] for _ in range(2)]
    inner.seen.clear()
    return app


def upload(app, cookie, *paths):
    app.inner.answer = json.dumps([str(path) for path in paths]).encode()
    assert ask(app, 'POST', '/gradio_api/upload', b'form', cookie=cookie)[0] == 200
    app.inner.answer = b'{"event_id": "1"}'


def call(app, cookie, data, **more):
    body = json.dumps({'data': data, 'fn_index': 1, 'session_hash': 'abc'} | more).encode()
    return ask(app, 'POST', '/gradio_api/queue/join', body, cookie=cookie)


def test_the_cookie(pages):
    status, headers, _ = ask(pages)
    assert (
        status == 200
        and 'HttpOnly' in headers['set-cookie']
        and 'SameSite=Lax' in headers['set-cookie']
    )
    assert 'set-cookie' not in ask(pages, cookie=f'a=b; {pages.cookies[0]}')[1]
    name, value = pages.cookies[0].split('=')
    for wrong in (
        f'{name}={value[:-1]}x',
        f'{name}={"0" * 64}',
        f'{name}=',
        f'x{name}={value}',
        f'{name}={value}0',
        '',
    ):
        assert 'set-cookie' in ask(pages, cookie=wrong)[1]
        status, _, body = ask(pages, 'POST', '/gradio_api/upload', b'form', cookie=wrong)
        assert status == 403 and b'open the page first' in body


CLOSED = [
    ('POST', '/gradio_api/call/restore'),
    ('GET', '/gradio_api/call/restore/1'),
    ('POST', '/gradio_api/call/v2/restore'),
    ('POST', '/gradio_api/run/restore'),
    ('POST', '/gradio_api/api/restore'),
    ('POST', '/gradio_api/component_server'),
    ('GET', '/gradio_api/proxy=http://127.0.0.1/'),
    ('HEAD', '/gradio_api/proxy=http://127.0.0.1/'),
    ('GET', '/gradio_api/stream/a/b/1/playlist.m3u8'),
    ('POST', '/gradio_api/stream/1'),
    ('GET', '/gradio_api/file/etc/passwd'),
    ('GET', '/gradio_api/custom_component/a/client/b/c'),
    ('POST', '/gradio_api/cancel'),
    ('GET', '/gradio_api/queue/status'),
    ('POST', '/gradio_api/process_recording'),
    ('GET', '/gradio_api/openapi.json'),
    ('GET', '/gradio_api/deep_link'),
    ('POST', '/gradio_api/vibe-edit'),
    ('GET', '/gradio_api/dev/reload'),
    ('POST', '/login'),
    ('GET', '/docs'),
    ('GET', '/openapi.json'),
    ('GET', '/monitoring'),
    ('POST', '/'),
    ('PUT', '/gradio_api/upload'),
    ('OPTIONS', '/gradio_api/upload'),
    ('GET', '/gradio_api/upload'),
    ('GET', '/gradio_api//upload'),
    ('GET', '/assets/../../secret'),
    ('GET', '/assets/.env'),
    ('GET', '/assets//etc/passwd'),
    ('GET', '/static/a\0b'),
    ('GET', '/static/%2e%2e/secret'),
    ('GET', '/favicon.icon'),
]


@pytest.mark.parametrize(('method', 'path'), CLOSED)
def test_closed_routes(pages, method, path):
    assert ask(pages, method, path, cookie=pages.cookies[0])[0] == 404 and not pages.inner.seen


def test_open_routes_lose_their_query(pages):
    for path in (
        '/',
        '/config',
        '/assets/a-b_c.d.js',
        '/static/js/x.min.js',
        '/theme.css',
        '/gradio_api/info',
    ):
        assert ask(pages, path=path, query=b'deep_link=../../a')[0] == 200, path
        assert pages.inner.seen[-1]['query_string'] == b'' and pages.inner.seen[-1]['path'] == path


def test_files_belong_to_the_session_that_uploaded_them(pages):
    mine, theirs = pages.cookies
    path = pages.folder / 'hash' / 'a b.png'
    upload(pages, mine, path, '/etc/passwd', pages.folder / 'other')
    for wanted, cookie, status in [
        (path, mine, 200),
        (path, theirs, 404),
        (path, None, 403),
        (pages.folder / 'example.png', theirs, 200),
        ('/etc/passwd', mine, 404),  # whatever Gradio says
        (f'{path.parent}/../hash/a b.png', mine, 404),
        (f'{path.parent}//a b.png', mine, 404),
        (f'{path}\0', mine, 404),
        (f'file://{path}', mine, 404),
        ('http://127.0.0.1/', mine, 404),
        ('a' * 100_000, mine, 404),
        (path.parent, mine, 404),
        ('', mine, 404),
    ]:
        pages.inner.seen.clear()
        for method in ('GET', 'HEAD'):
            assert ask(pages, method, f'/gradio_api/file={wanted}', cookie=cookie)[0] == status, (
                wanted
            )
        assert len(pages.inner.seen) == 2 * (status == 200)


def test_calls_name_files_of_their_session(pages):
    mine, theirs = pages.cookies
    path = str(pages.folder / 'hash' / 'image.png')
    upload(pages, mine, path)
    pages.inner.bodies.clear()
    meta = {'_type': 'gradio.FileData'}
    full = {
        'path': path,
        'url': 'http://127.0.0.1/secret',
        'orig_name': '/etc/passwd',
        'is_stream': True,
        'meta': meta,
        'x': 1,
    }
    data = [{'background': full, 'layers': [full], 'composite': None, 'id': 'abc'}, None, 'none', 5]
    assert call(pages, mine, data, event_data={'path': '/etc/passwd'}, root_path='x')[0] == 200
    seen = json.loads(pages.inner.bodies[-1])
    clean = {'path': path, 'meta': meta}
    assert seen.pop('session_hash') != 'abc'
    editor = {'background': clean, 'layers': [clean], 'composite': None}
    assert seen == {'data': [editor, None, 'none', 5], 'fn_index': 1, 'trigger_id': None}
    lengths = [
        value for name, value in pages.inner.seen[-1]['headers'] if name == b'content-length'
    ]
    assert lengths == [b'%d' % len(pages.inner.bodies[-1])]
    pages.inner.seen.clear()
    for cookie, file in [
        (theirs, full),
        (theirs, {'path': path}),
        (mine, {'path': '/etc/passwd', 'meta': meta}),
        (mine, {'path': f'{path}/../image.png'}),
        (mine, {'path': f'file://{path}'}),
        (mine, {'path': f'{path}\0'}),
        (mine, {'path': [path]}),
        (mine, {'path': None, 'url': 'http://127.0.0.1/'}),
        (mine, {'url': 'http://127.0.0.1/'}),
        (mine, {'url': 'data:image/png;base64,AA=='}),
        (mine, {'path': 'http://127.0.0.1/', 'meta': meta}),
        (mine, {'deep': [{'er': {'path': '/etc/passwd'}}]}),
    ]:
        for place in (
            [file],
            [{'background': file, 'layers': []}],
            [{'background': None, 'layers': [[file]]}],
        ):
            status, _, body = call(pages, cookie, place)
            assert status == 403 and b'upload it first' in body, file
    assert not pages.inner.seen


@pytest.mark.parametrize('body', [b'', b'{', b'[]', b'null', b'{"data": 5, "fn_index": 1, "session_hash": "a"}', b'{"data": []}', b'\xff',
                                  b'{"data": [], "fn_index": Infinity, "session_hash": "a"}', b'[' * 100_000])  # fmt: skip
def test_calls_that_are_none(pages, body):
    assert (
        ask(pages, 'POST', '/gradio_api/queue/join', body, cookie=pages.cookies[0])[0] == 400
        and not pages.inner.seen
    )


def test_names_that_clients_choose_are_those_of_their_session(pages):
    def names(cookie):
        call(pages, cookie, [])
        found = [json.loads(pages.inner.bodies[-1])['session_hash']]
        ask(
            pages,
            path='/gradio_api/queue/data',
            query=b'session_hash=abc&session_hash=x&other=1',
            cookie=cookie,
        )
        found.append(pages.inner.seen[-1]['query_string'].decode().removeprefix('session_hash='))
        ask(pages, path='/gradio_api/heartbeat/abc', cookie=cookie)
        found.append(pages.inner.seen[-1]['path'].removeprefix('/gradio_api/heartbeat/'))
        assert pages.inner.seen[-1]['raw_path'].decode() == pages.inner.seen[-1]['path']
        return found

    first, second = (names(cookie) for cookie in pages.cookies)
    assert (
        len(set(first)) == len(set(second)) == 1
        and first != second
        and first == names(pages.cookies[0])
    )


def test_what_was_made_for_a_session_is_read_by_it_alone(pages):
    mine, theirs = pages.cookies
    made = pages.folder / 'out' / 'image.png'
    message = json.dumps(
        {
            'msg': 'process_completed',
            'output': {'data': [{'path': str(made), 'url': 'x'}, None, 'line']},
        }
    )
    pages.inner.answer = f'data: {message}\n\ndata: {{"msg": "close_stream"}}\n\n'.encode()
    assert (
        ask(
            pages,
            path='/gradio_api/queue/data',
            query=b'session_hash=abc',
            cookie=mine,
            accept_encoding='br',
        )[0]
        == 200
    )
    assert b'accept-encoding' not in dict(pages.inner.seen[-1]['headers'])
    assert [
        ask(pages, path=f'/gradio_api/file={made}', cookie=cookie)[0] for cookie in (mine, theirs)
    ] == [200, 404]


def test_large_requests(pages, monkeypatch):
    monkeypatch.setattr(sessions, 'LARGEST_UPLOAD', 2 << 20)
    cookie = pages.cookies[0]
    pages.inner.answer = b'[]'
    assert ask(pages, 'POST', '/gradio_api/upload', bytes(2 << 20), cookie=cookie)[0] == 200
    status, _, body = ask(pages, 'POST', '/gradio_api/upload', bytes(3 << 20), cookie=cookie)
    assert status == 413 and b'has 3.0 MiB; expected at most 2 MiB' in body
    assert (
        ask(pages, 'POST', '/gradio_api/upload', b'x', cookie=cookie, content_length=None)[0] == 411
    )
    assert (
        ask(pages, 'POST', '/gradio_api/upload', b'x', cookie=cookie, content_length='-1')[0] == 411
    )
    assert (
        ask(pages, 'POST', '/gradio_api/queue/join', bytes((1 << 20) + 1), cookie=cookie)[0] == 413
    )
    assert (
        ask(
            pages,
            'POST',
            '/gradio_api/queue/join',
            bytes((1 << 20) + 1),
            cookie=cookie,
            content_length='5',
        )[0]
        == 413
    )
    monkeypatch.setattr(sessions, 'LARGEST_FOLDER', 100)
    assert ask(pages, 'POST', '/gradio_api/upload', bytes(101), cookie=cookie)[0] == 503
    assert len(pages.inner.seen) == 1


@pytest.mark.parametrize(('limit', 'value'), [('LARGEST_FOLDER', 30), ('MOST_FILES', 3)])
def test_the_oldest_files_make_room(pages, monkeypatch, limit, value):
    monkeypatch.setattr(sessions, limit, value)
    for number in range(6):
        file = pages.folder / str(number) / 'image.png'
        file.parent.mkdir()
        file.write_bytes(bytes(10))
        os.utime(file, (number, number))
    upload(pages, pages.cookies[0], file)
    assert sorted(path.name for path in pages.folder.iterdir()) == ['3', '4', '5', 'example.png']


def test_names_of_files_are_bounded(pages, monkeypatch):
    monkeypatch.setattr(sessions, 'MOST_NAMES', 3)
    files = [str(pages.folder / str(number)) for number in range(5)]
    upload(pages, pages.cookies[0], *files)
    assert [
        ask(pages, path=f'/gradio_api/file={file}', cookie=pages.cookies[0])[0] for file in files
    ] == [404, 404, 200, 200, 200]
