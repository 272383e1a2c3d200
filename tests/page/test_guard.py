"""Test the guard of the page and its cookie by plain ASGI calls, without a network."""

import asyncio
import base64

import pytest

from hmaca_arch.page import guard as guard_module
from hmaca_arch.page.addresses import is_loopback, read_auth, read_host, read_root_path
from hmaca_arch.page.guard import Guard
from hmaca_arch.page.sessions import Sessions

OWN = '127.0.0.1:7860'


class Inner:
    """An application that notes what reaches it, and answers with open CORS headers."""

    def __init__(self):
        self.seen = []

    async def __call__(self, scope, receive, send):
        self.seen.append(scope)
        headers = [
            (b'access-control-allow-origin', b'*'),
            (b'Access-Control-Allow-Credentials', b'true'),
        ]
        await send({'type': 'http.response.start', 'status': 200, 'headers': headers})
        await send({'type': 'http.response.body', 'body': b'{}'})


def ask(app, method='GET', path='/', body=b'', kind='http', client='10.1.1.1', **headers):
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
        'client': (client, 5000),
        'type': kind,
        'method': method,
        'path': path,
        'raw_path': path.encode(),
        'query_string': b'',
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
    assert ask(Guard(inner, '127.0.0.1', 7860), method, '/api/images', **headers)[0] == status
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
    assert ask(guard, path='/api/jobs/a/image', **followed)[0] == 403
    assert ask(guard, 'POST', **followed)[0] == 403
    assert ask(guard, **followed | {'sec_fetch_dest': 'iframe'})[0] == 403


def test_headers_of_answers():
    inner = Inner()
    for headers in ({}, {'origin': 'http://other.example'}):
        found = ask(Guard(inner, '127.0.0.1', 7860), x_forwarded_host='other.example', **headers)[1]
        assert not any(name.startswith('access-control') for name in found)
        assert (
            "default-src 'none'" in found['content-security-policy']
            and "frame-ancestors 'none'" in found['content-security-policy']
        )
        assert 'unsafe' not in found['content-security-policy']
    assert len(inner.seen) == 1


def test_websockets_are_closed():
    inner = Inner()
    assert ask(Guard(inner, '127.0.0.1', 7860), kind='websocket') == [
        {'type': 'websocket.close', 'code': 1008}
    ]
    assert not inner.seen


def test_password():
    guard = Guard(Inner(), '127.0.0.1', 7860, auth=read_auth('me:gehäim:x'))
    given = base64.b64encode('me:gehäim:x'.encode()).decode()
    for path in ('/', '/static/app.js', '/api/images'):
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


def test_the_root_path_may_be_there_or_not():
    inner = Inner()
    guard = Guard(inner, '127.0.0.1', 7860, root_path='/some/page')
    for path, inside in [
        ('/some/page/', '/'),
        ('/some/page/api/jobs/1', '/api/jobs/1'),
        ('/api/jobs/1', '/api/jobs/1'),  # by a proxy that cuts it off
        ('/some/pages/', '/some/pages/'),
        ('/some/page//x', '//x'),
    ]:
        assert ask(guard, path=path)[0] == 200
        assert inner.seen[-1]['path'] == inside
        assert inner.seen[-1]['raw_path'] == inside.encode()
    status, headers, _ = ask(guard, path='/some/page')
    assert (status, headers['location']) == (307, '/some/page/')
    assert ask(guard, path='/some/page', host='other.example')[0] == 403


def test_values_of_the_root_path():
    for given, kept in [('', ''), ('/', ''), ('/a', '/a'), ('/a/b.c~d/', '/a/b.c~d')]:
        assert read_root_path(given) == kept
    for wrong in ('a', '//a', '/a/../b', '/a b', '/a?b', '/a\nb', 'http://a/b', '/.a'):
        with pytest.raises(ValueError, match='expected a path such as /restore'):
            read_root_path(wrong)


def basic(text):
    return f'Basic {base64.b64encode(text.encode()).decode()}'


def test_guessing_passwords_is_slowed_down(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(guard_module.time, 'monotonic', lambda: now[0])
    guard = Guard(Inner(), '127.0.0.1', 7860, auth=read_auth('me:secret'))
    for number in range(10):
        assert ask(guard, authorization=basic(f'me:{number}'))[0] == 401
    status, headers, body = ask(guard, authorization=basic('me:secret'))
    assert status == 429 and headers['retry-after'] == '61' and b'too many wrong' in body
    assert ask(guard)[0] == 401  # without a password there is nothing to guess
    assert ask(guard, client='10.1.1.2', authorization=basic('me:secret'))[0] == 200
    now[0] += 61
    assert ask(guard, authorization=basic('me:secret'))[0] == 200


def test_many_addresses_guess_no_more_than_a_few(monkeypatch):
    monkeypatch.setattr(guard_module, 'MOST_GUESSES_IN_ALL', 20)
    guard = Guard(Inner(), '127.0.0.1', 7860, auth=read_auth('me:secret'))
    found = [
        ask(guard, client=f'10.0.0.{number}', authorization=basic('me:x'))[0]
        for number in range(30)
    ]
    assert found == 20 * [401] + 10 * [429]


def test_who_once_gave_the_password_is_not_locked_out():
    sessions = Sessions(7860)
    guard = Guard(
        Inner(),
        '127.0.0.1',
        7860,
        auth=read_auth('me:secret'),
        is_known=lambda scope: sessions.of(scope) is not None,
    )
    for number in range(20):
        ask(guard, authorization=basic(f'me:{number}'))
    cookie = sessions.new_cookie().split(';')[0]
    assert ask(guard, authorization=basic('me:secret'))[0] == 429
    assert ask(guard, authorization=basic('me:secret'), cookie=cookie)[0] == 200
    assert ask(guard, authorization=basic('me:other'), cookie=cookie)[0] == 401
    assert ask(guard, authorization=basic('me:secret'), cookie=f'{cookie}0')[0] == 429


def scope(cookie):
    return {'headers': [(b'cookie', cookie.encode('latin-1'))]}


def test_only_this_server_makes_its_cookie():
    sessions = Sessions(7860, '/page')
    made = sessions.new_cookie()
    cookie, *attributes = made.split('; ')
    assert attributes == ['Path=/page', 'HttpOnly', 'SameSite=Lax']
    name, value = cookie.split('=')
    assert sessions.of(scope(f'a=b; {cookie}')) == value[:32]
    assert sessions.of({'headers': []}) is None
    assert Sessions(7860).of(scope(cookie)) is None
    for wrong in (
        f'{name}={value[:-1]}x',
        f'{name}={"0" * 64}',
        f'{name}=',
        f'x{name}={value}',
        f'{name}={value}0',
        f'{name}={value[:63]}\xff',
        '',
    ):
        assert sessions.of(scope(wrong)) is None
    assert sessions.new_cookie() != made
