"""`basicsr demo`: the function behind the button, the page's HTTP API, and the page in a real
browser.
"""

import base64
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from unittest.mock import Mock

import cv2
import numpy as np
import pytest
import torch
from browser import Browser, find_browser
from conftest import command_line, environment
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from skimage import data
from torch import nn

from datasets_ext import degradations
from hmaca_arch import cli
from hmaca_arch.commands.demo import main
from hmaca_arch.inference import Restorer, load_restorer
from hmaca_arch.messages import how_to_install
from hmaca_arch.page import demo

INSIDE = np.zeros((40, 48), bool)
INSIDE[10:22, 8:30] = True


def paint(mask: np.ndarray, alpha: int = 255) -> np.ndarray:
    """The editor's layer after white paint on `mask`."""
    return np.where(mask[..., None], np.array([255, 255, 255, alpha]), 0).astype(np.uint8)


def painted(mask: np.ndarray = INSIDE, alpha: int = 255) -> dict:
    """A picture with a painted region, as the editor hands it over."""
    picture = np.random.default_rng(0).integers(30, 220, (*mask.shape, 4), dtype=np.uint8)
    picture[..., 3] = alpha
    return {'background': picture, 'layers': [paint(mask)], 'composite': None}


class Black(nn.Module):
    def forward(self, x):
        return torch.zeros_like(x)


def test_without_damage_the_region_is_restored_as_the_python_api_does(tiny_checkpoint):
    given_picture, restorer = painted(), load_restorer(tiny_checkpoint, 'cpu')
    tried = demo.try_out(restorer, given_picture, context=8, feather=2)
    picture = given_picture['background'][..., :3]
    np.testing.assert_array_equal(tried.damaged, picture)
    np.testing.assert_array_equal(
        tried.restored, restorer.restore(picture, INSIDE, context=8, feather=2)
    )
    assert (tried.restored != picture).any() and (tried.restored[~INSIDE] == picture[~INSIDE]).all()
    assert tried.line.startswith('1 region restored in ') and tried.line.endswith(
        '; largest change outside: 0'
    )


@pytest.mark.parametrize(
    ('damage', 'strength', 'expected', 'words'),
    [
        ('pixelize', 1, lambda *x: degradations.pixelate(*x, 3, 'mean'), 'squares of 3 pixels'),
        ('pixelize', 10, lambda *x: degradations.pixelate(*x, 12, 'mean'), 'squares of 12 pixels'),
        ('blur', 4, lambda *x: degradations.blur(*x, 1.4), 'sigma 1.4 pixels'),
        (
            'noise',
            10,
            lambda *x: degradations.noise(*x, np.random.default_rng(0), 25),
            'sigma 25 of 255',
        ),
    ],
)
def test_damage(damage, strength, expected, words):
    given_picture = painted()
    tried = demo.try_out(Restorer(nn.Identity()), given_picture, None, damage, strength, context=4)
    np.testing.assert_array_equal(
        tried.damaged, expected(given_picture['background'][..., :3], INSIDE[..., None])
    )
    np.testing.assert_array_equal(
        tried.restored, tried.damaged
    )  # by a network that changes nothing
    assert not tried.difference.any() and words in tried.line
    before, after = (
        tried.line.split('PSNR of the region ')[1]
        .replace(' damaged', '')
        .replace(' restored', '')
        .split(', ')
    )
    assert before == after and 5 < float(before.split()[0]) < 40


def test_difference_is_amplified_and_alpha_left_alone():
    given_picture = painted(alpha=200)
    tried = demo.try_out(Restorer(Black()), given_picture, context=0)
    picture = given_picture['background']
    assert tried.restored.shape == (40, 48, 4) and (tried.restored[..., 3] == 200).all()
    assert (
        not tried.restored[INSIDE][:, :3].any()
        and (tried.restored[~INSIDE] == picture[~INSIDE]).all()
    )
    assert tried.difference.shape == (40, 48, 3) and not tried.difference[~INSIDE].any()
    np.testing.assert_array_equal(
        tried.difference[INSIDE], np.minimum(8 * picture[INSIDE][:, :3].astype(int), 255)
    )


@settings(max_examples=25)
@given(
    masks=st.lists(st.lists(st.booleans(), min_size=12, max_size=12), min_size=1, max_size=3),
    alpha=st.integers(0, 255),
)
def test_what_is_painted(masks, alpha):
    layers = [paint(np.reshape(mask, (3, 4)), alpha) for mask in masks]
    union = np.any(masks, axis=0).reshape(3, 4)
    given_picture = {'background': np.full((3, 4, 4), 255, np.uint8), 'layers': layers}
    if alpha > 127 and union.any():
        picture, mask = demo.read_painted(given_picture)
        assert picture.shape == (3, 4, 3)
        np.testing.assert_array_equal(mask, union)
    else:
        with pytest.raises(ValueError, match='nothing is painted'):
            demo.read_painted(given_picture)


def test_a_mask_of_its_own_joins_what_is_painted():
    other = np.zeros(INSIDE.shape, bool)
    other[30:35, 33:40] = True
    drawn = other.astype(np.uint8)
    np.testing.assert_array_equal(demo.read_painted(painted(), drawn)[1], INSIDE | other)
    np.testing.assert_array_equal(demo.read_painted(painted() | {'layers': []}, drawn)[1], other)
    mask_as_layer = np.dstack(
        [255 * INSIDE.astype(np.uint8)] * 3 + [np.full(INSIDE.shape, 255, np.uint8)]
    )  # opaque, black and white
    np.testing.assert_array_equal(
        demo.read_painted(painted() | {'layers': [mask_as_layer]})[1], INSIDE
    )


@pytest.mark.parametrize(
    ('change', 'arguments', 'message'),
    [
        (None, {}, 'no picture yet'),
        ({'background': None}, {}, 'no picture yet'),
        ({'layers': []}, {}, 'nothing is painted'),
        ({'layers': [np.zeros((8, 9, 4), np.uint8)]}, {}, 'mask has 9x8 pixels, the picture 48x40'),
        ({}, {'drawn': np.zeros((8, 9), np.uint8)}, 'mask has 9x8 pixels'),
        ({}, {'damage': 'fog'}, "damage is 'fog'; expected none, pixelize, blur, noise"),
        ({}, {'damage': 'blur', 'strength': 11}, 'strength is 11; expected 1 to 10'),
        ({}, {'damage': 'blur', 'strength': float('nan')}, 'strength is nan'),
        ({}, {'context': -1}, 'context is -1'),
    ],
)
def test_mistakes(change, arguments, message):
    with pytest.raises(ValueError, match=message):
        demo.try_out(
            Restorer(nn.Identity()), None if change is None else painted() | change, **arguments
        )


def test_examples_are_photographs_with_a_region(tmp_path):
    found = demo.examples(tmp_path)
    assert [damage for *_, damage in found] == ['pixelize', 'blur', 'noise']
    for (file, mask_file, _), name in zip(found, ('chelsea', 'coffee', 'rocket'), strict=True):
        background, drawn = (
            np.array(Image.open(file).convert('RGBA')),
            np.array(Image.open(mask_file)),
        )
        picture, mask = demo.read_painted({'background': background}, drawn // 255)
        np.testing.assert_array_equal(picture, getattr(data, name)())
        assert 2000 < mask.sum() < 8000


def command(*arguments, capsys) -> tuple[int, str]:
    with pytest.raises(SystemExit) as end:
        cli.main(['demo', *map(str, arguments)])
    return end.value.code, capsys.readouterr().err


def test_without_gradio_one_line_names_the_extra(monkeypatch, capsys, tiny_checkpoint):
    monkeypatch.setitem(sys.modules, 'gradio', None)
    code, err = command('--weights', tiny_checkpoint, capsys=capsys)
    assert code == 1 and err.count('\n') == 1 and how_to_install('demo') in err


@pytest.mark.parametrize(
    ('host', 'message'),
    [
        ('127.0.0.1', 'in use'),
        ('host.invalid', 'cannot listen on host.invalid'),
        ('::1', 'listen on ::1'),
    ],
)
def test_a_place_that_cannot_be_listened_on(host, message):
    with demo.listen('127.0.0.1', 0) as taken, pytest.raises(OSError, match=message):
        port = taken.getsockname()[1] if host == '127.0.0.1' else 70000
        demo.listen(host, port)


def test_a_port_that_is_none_is_told_whether_gradio_is_there_or_not(monkeypatch):
    monkeypatch.setattr(demo, 'import_gradio', Mock())
    with pytest.raises(OSError, match='port 70000'):
        main(['--device', 'cpu', '--port', '70000'])
    demo.import_gradio.assert_not_called()


@pytest.mark.parametrize(
    ('arguments', 'environment', 'message'),
    [
        (
            ['--host', '0.0.0.0'],
            '',
            '--host 0.0.0.0 lets other machines in: set a password with --auth USER:PASSWORD',
        ),
        (['--auth', 'secret'], '', 'not USER:PASSWORD'),
        ([], 'secret', 'not USER:PASSWORD'),
        (['--allow-host', 'http://demo.example'], '', "--allow-host is 'http://demo.example'"),
    ],
)
def test_who_may_reach_it(arguments, environment, message, monkeypatch, capsys, tiny_checkpoint):
    monkeypatch.setattr(demo, 'import_gradio', Mock())
    monkeypatch.setenv('HMACA_AUTH', environment)
    code, err = command(
        '--weights', tiny_checkpoint, '--device', 'cpu', '--port', 0, *arguments, capsys=capsys
    )
    assert code == 1 and err.count('\n') == 1 and message in err and 'secret' not in err
    demo.import_gradio.assert_not_called()


# What follows needs Gradio, and in the end a browser.

WATCH = """import sys
log = open({log!r}, 'a', buffering=1)
log.write('watching\\n')
def note(event, arguments):
    if event in ('socket.connect', 'socket.getaddrinfo'):
        log.write(f'{{event}} {{arguments[-1] if event == "socket.connect" else arguments[0]}}\\n')
sys.addaudithook(note)
"""


class Server:
    """The command as a process of its own, whose every attempt to reach a host is written to `log`."""

    def __init__(self, folder: Path, *arguments) -> None:
        self.log = folder / 'connections.txt'
        (folder / 'sitecustomize.py').write_text(WATCH.format(log=str(self.log)))
        (folder / 'tmp').mkdir()
        self.temporary = folder / 'tmp'
        environ = environment()
        environ |= {
            'PYTHONPATH': os.pathsep.join([str(folder), environ['PYTHONPATH']]),
            'TMPDIR': str(self.temporary),
        }
        self.process = subprocess.Popen(
            command_line('demo', '--port', 0, '--device', 'cpu', *arguments),
            cwd=folder,
            env=environ,
            text=True,
            stdout=subprocess.PIPE,
        )
        self.line = self.process.stdout.readline()
        self.url = self.line.split(' ')[0]


@pytest.fixture(scope='module')
def server(tmp_path_factory, tiny_checkpoint):
    pytest.importorskip('gradio', reason=f'the page needs Gradio: {how_to_install("demo")}')
    server = Server(tmp_path_factory.mktemp('demo'), '--weights', tiny_checkpoint)
    yield server
    server.process.kill()
    server.process.wait()
    server.process.stdout.close()


def test_http_api(server, tiny_checkpoint, tmp_path, monkeypatch):
    monkeypatch.setenv('GRADIO_ANALYTICS_ENABLED', 'False')
    from gradio_client import Client, handle_file
    from gradio_client.exceptions import AppError

    given_picture = painted()
    Image.fromarray(given_picture['background'][..., :3]).save(tmp_path / 'picture.png')
    Image.fromarray(INSIDE).save(tmp_path / 'mask.png')
    picture, mask = (
        handle_file(str(tmp_path / 'picture.png')),
        handle_file(str(tmp_path / 'mask.png')),
    )
    client = Client(server.url, verbose=False, download_files=str(tmp_path / 'down'))
    *files, line = client.predict(
        {'background': picture, 'layers': [], 'composite': None},
        mask,
        'noise',
        6,
        8,
        1,
        api_name='/restore',
    )
    expected = demo.try_out(
        load_restorer(tiny_checkpoint, 'cpu'), given_picture, None, 'noise', 6, 8, 1
    )
    for file, pixels in zip(files, expected[:3], strict=True):
        found = np.array(Image.open(file))
        assert np.abs(found.astype(int) - pixels).max() <= (
            8 if pixels is expected.difference else 1
        )
        assert (found[~INSIDE] == pixels[~INSIDE]).all()
    assert 'largest change outside: 0' in line and 'noise added' in line
    with pytest.raises(AppError, match='nothing is painted yet'):
        client.predict(
            {'background': picture, 'layers': [], 'composite': None},
            None,
            'none',
            5,
            8,
            0,
            api_name='/restore',
        )


def test_the_page_reads_files_as_the_command_does(server, tiny_checkpoint, tmp_path, monkeypatch):
    monkeypatch.setenv('GRADIO_ANALYTICS_ENABLED', 'False')
    from gradio_client import Client, handle_file
    from gradio_client.exceptions import AppError

    client = Client(server.url, verbose=False, download_files=str(tmp_path / 'down'))

    def restored(image: Path, mask: Path) -> tuple[np.ndarray, np.ndarray, str]:
        editor = {'background': handle_file(str(image)), 'layers': [], 'composite': None}
        before, after, _, line = client.predict(
            editor, handle_file(str(mask)), 'none', 5, 8, 0, api_name='/restore'
        )
        return np.array(Image.open(before)), np.array(Image.open(after)), line

    gray = np.random.default_rng(0).integers(0, 65536, INSIDE.shape, dtype=np.uint16)
    (tmp_path / 'deep.png').write_bytes(png(gray))
    (tmp_path / 'mask.png').write_bytes(png(255 * INSIDE.astype(np.uint8)))
    before, after, line = restored(tmp_path / 'deep.png', tmp_path / 'mask.png')
    np.testing.assert_array_equal(
        before, np.repeat(np.rint(gray / 257).astype(np.uint8)[..., None], 3, axis=2)
    )
    assert 'largest change outside: 0' in line

    colour = painted()['background'][..., :3]
    exif = Image.Exif()
    for orientation in (3, 6):
        exif[0x0112] = orientation
        stored = Image.fromarray(np.rot90(colour, {3: 2, 6: 1}[orientation]))
        stored.save(tmp_path / 'turned.png', exif=exif)
        before, after, line = restored(tmp_path / 'turned.png', tmp_path / 'mask.png')
        np.testing.assert_array_equal(before, colour)
        expected = load_restorer(tiny_checkpoint, 'cpu').restore(colour, INSIDE, context=8)
        assert np.abs(after.astype(int) - expected).max() <= 1

    (tmp_path / 'zero_one.png').write_bytes(png(INSIDE.astype(np.uint8)))
    assert '1 is taken for white' in restored(tmp_path / 'deep.png', tmp_path / 'zero_one.png')[2]
    white = np.full((*INSIDE.shape, 4), 255, np.uint8)
    white[..., 3] *= INSIDE
    (tmp_path / 'cut_out.png').write_bytes(png(white))
    with pytest.raises(AppError, match='cut_out.png: has transparent pixels'):
        restored(tmp_path / 'deep.png', tmp_path / 'cut_out.png')
    (tmp_path / 'text.png').write_bytes(b'no image')
    with pytest.raises(AppError):
        restored(tmp_path / 'text.png', tmp_path / 'mask.png')


class Visitor:
    """A client that keeps its cookie, and sends what it likes."""

    def __init__(self, server: Server) -> None:
        self.address, self.cookie = urllib.parse.urlsplit(server.url).netloc, None
        self.cookie = self.ask('GET', '/')[1]['set-cookie'].split(';')[0]

    def ask(
        self, method: str, path: str, body: bytes | None = None, **headers
    ) -> tuple[int, dict, bytes]:
        """The status, the headers and the body of the answer."""
        connection = http.client.HTTPConnection(self.address, timeout=120)
        given = {name.replace('_', '-'): value for name, value in headers.items()} | (
            {'Cookie': self.cookie} if self.cookie else {}
        )
        try:
            connection.request(method, path, body, given)
            answer = connection.getresponse()
            return (
                answer.status,
                {name.lower(): value for name, value in answer.getheaders()},
                answer.read(),
            )
        finally:
            connection.close()

    def upload(self, content: bytes, name: str = 'image.png') -> tuple[int, bytes]:
        part = f'--xyz\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\nContent-Type: image/png\r\n\r\n'
        body = part.encode() + content + b'\r\n--xyz--\r\n'
        status, _, answer = self.ask(
            'POST', '/gradio_api/upload', body, Content_Type='multipart/form-data; boundary=xyz'
        )
        return status, answer

    def call(self, background: dict, drawn: dict, session: str = 'abc') -> tuple[int, bytes]:
        """What came of a call, or why there is none."""
        editor = {'background': background, 'layers': [], 'composite': None}
        functions = json.loads(self.ask('GET', '/config')[2])['dependencies']
        number = next(function['id'] for function in functions if function['api_name'] == 'restore')
        body = json.dumps(
            {'data': [editor, drawn, 'none', 5, 8, 0], 'fn_index': number, 'session_hash': session}
        ).encode()
        status, _, answer = self.ask(
            'POST', '/gradio_api/queue/join', body, Content_Type='application/json'
        )
        return (
            (status, answer)
            if status != 200
            else (status, self.ask('GET', f'/gradio_api/queue/data?session_hash={session}')[2])
        )


META = {'meta': {'_type': 'gradio.FileData'}}


def png(pixels: np.ndarray) -> bytes:
    return cv2.imencode('.png', pixels)[1].tobytes()


def test_a_request_names_only_what_its_session_uploaded(server, tmp_path):
    secret = tmp_path / 'secret.png'
    secret.write_bytes(png(np.full((40, 48, 3), 77, np.uint8)))
    mine, theirs = Visitor(server), Visitor(server)
    image, mask = painted()['background'][..., :3], 255 * INSIDE.astype(np.uint8)
    paths = [json.loads(mine.upload(content)[1])[0] for content in (png(image), png(mask))]
    background, drawn = ({'path': path, **META} for path in paths)
    with socket.create_server(('127.0.0.1', 0)) as elsewhere:
        elsewhere.settimeout(0)
        url = f'http://127.0.0.1:{elsewhere.getsockname()[1]}/a.png'
        link = server.temporary / 'link.png'
        link.symlink_to(secret)
        for file in (
            {'path': str(secret), **META},
            {'path': str(secret)},
            {'path': f'file://{secret}', **META},
            {'path': str(link), **META},
            {'path': f'{Path(paths[0]).parent}/../../../{secret.name}', **META},
            {'path': f'{paths[0]}\0', **META},
            {'path': 'a' * 5000, **META},
            {'path': url, **META},
            {'url': url, **META},
        ):
            assert mine.call(file, drawn)[0] == mine.call(background, file)[0] == 403
        status, answer = mine.call({**background, 'url': url, 'orig_name': str(secret)}, drawn)
        assert status == 200 and b'1 region restored' in answer
        made = re.findall(r'"path":"([^"]+)"', answer.decode())
        with pytest.raises(BlockingIOError):
            elsewhere.accept()
    assert theirs.call(background, drawn)[0] == 403 and len(made) == 3
    for path in (*paths, *made):
        assert mine.ask('GET', f'/gradio_api/file={path}')[0] == 200
        assert theirs.ask('GET', f'/gradio_api/file={path}')[0] == 404
    found = cv2.imdecode(
        np.frombuffer(mine.ask('GET', f'/gradio_api/file={made[0]}')[2], np.uint8), cv2.IMREAD_COLOR
    )
    np.testing.assert_array_equal(found, image)
    for path in (
        secret,
        link,
        urllib.parse.quote(f'../{secret}', safe=''),
        f'file://{secret}',
        url,
        f'{paths[0]}%00',
    ):
        for route in ('file=', 'file', 'proxy=', 'stream/'):
            assert mine.ask('GET', f'/gradio_api/{route}{path}')[0] == 404
    body = json.dumps(
        {
            'data': [
                {'background': {'path': str(secret), **META}, 'layers': [], 'composite': None},
                None,
                'none',
                5,
                32,
                0,
            ]
        }
    )
    assert (
        mine.ask(
            'POST', '/gradio_api/call/restore', body.encode(), Content_Type='application/json'
        )[0]
        == 404
    )
    kept = [
        file.read_bytes() for file in server.temporary.glob('basicsr_demo_*/**/*') if file.is_file()
    ]
    assert kept and secret.read_bytes() not in kept


def test_names_of_uploads(server):
    visitor = Visitor(server)
    for name in ('../../x.png', '/etc/passwd', 'a' * 5000, '..', 'a\0b', '%2e%2e%2fx', ''):
        status, answer = visitor.upload(b'content', name)
        assert status != 200 or all(
            Path(path).is_relative_to(next(server.temporary.glob('basicsr_demo_*')))
            for path in json.loads(answer)
        )
    status, answer = visitor.upload(bytes(65 << 20))
    assert status == 413 and b'has 65.0 MiB; expected at most 64 MiB' in answer


def test_other_sites(server):
    visitor = Visitor(server)
    port = visitor.address.split(':')[1]
    for path in ('/', '/config', '/theme.css', '/gradio_api/info'):
        for name in ('127.0.0.1', 'localhost', '[::1]'):
            assert (
                visitor.ask('GET', path, Host=f'{name}:{port}', Origin=f'http://{name}:{port}')[0]
                == 200
            )
        for headers in (
            {'Host': f'other.example:{port}'},
            {'Host': f'other.example:{port}', 'Origin': f'http://other.example:{port}'},
            {'Origin': 'http://other.example'},
            {'Origin': 'null'},
            {'Referer': 'http://other.example/'},
            {'Sec_Fetch_Site': 'cross-site'},
        ):
            for method in ('GET', 'POST', 'OPTIONS'):
                status, found, _ = visitor.ask(
                    method, path, Access_Control_Request_Method='POST', **headers
                )
                assert status == 403 and not any(key.startswith('access-control') for key in found)
    upgrade = {
        'Connection': 'Upgrade',
        'Upgrade': 'websocket',
        'Sec_WebSocket_Key': f'{"A" * 22}==',
        'Sec_WebSocket_Version': '13',
    }
    assert visitor.ask('GET', '/gradio_api/queue/join', **upgrade)[0] in (
        403,
        404,
    )  # 404 where uvicorn has no websockets


def test_password_on_every_route(tmp_path, tiny_checkpoint, monkeypatch):
    pytest.importorskip('gradio')
    monkeypatch.setenv('HMACA_AUTH', 'me:secret')
    server = Server(
        tmp_path, '--weights', tiny_checkpoint, '--host', '0.0.0.0', '--allow-host', 'demo.example'
    )
    try:
        given = {'Authorization': 'Basic ' + base64.b64encode(b'me:secret').decode()}
        routes = {
            '/': 200,
            '/config': 200,
            '/theme.css': 200,
            '/gradio_api/file=/etc/passwd': 403,
            '/gradio_api/queue/data': 403,
        }
        for path, known in routes.items():
            for headers, status in [
                ({}, 401),
                ({'Authorization': 'Basic bWU6b3RoZXI='}, 401),
                (given, known),
                (given | {'Host': 'demo.example'}, known),
                (given | {'Host': 'other.example'}, 403),
            ]:
                connection = http.client.HTTPConnection(
                    '127.0.0.1', int(server.url.rpartition(':')[2]), timeout=120
                )
                connection.request('GET', path, headers=headers)
                assert connection.getresponse().status == status, (path, headers)
                connection.close()
        assert server.url.startswith('http://0.0.0.0:')
    finally:
        server.process.kill()
        server.process.wait()
        server.process.stdout.close()


def editor_box(browser: Browser) -> dict:
    return browser.evaluate("document.querySelector('canvas').getBoundingClientRect().toJSON()")


def editor_picture(browser: Browser) -> bytes:
    """What the editor shows."""
    box = editor_box(browser)
    clip = {key: box[key] for key in ('x', 'y', 'width', 'height')} | {'scale': 1}
    return base64.b64decode(browser.call('Page.captureScreenshot', clip=clip)['data'])


def until_settled(browser: Browser, before: bytes, seconds: float = 120) -> None:
    """Wait until the editor shows something else than before, and then no more changes."""
    until, last = time.monotonic() + seconds, [before]
    while last[-1] == before or len(last) < 4 or len(set(last[-3:])) > 1:
        assert time.monotonic() < until, 'the editor does not come to rest'
        time.sleep(0.4)
        last.append(editor_picture(browser))


def restored_by(browser: Browser, words: str) -> tuple[np.ndarray, str]:
    """Press the button; returns the picture that comes back, once the line that comes with it has
    these words, and the line.
    """
    browser.evaluate("document.querySelector('#restore').click()")
    line = browser.wait_for(
        f"(text => text.includes('{words}') && text)(document.querySelector('#line textarea').value)"
    )
    url = browser.wait_for("document.querySelector('#restored img')?.src")
    with pytest.raises(urllib.error.HTTPError, match='403'):
        urllib.request.urlopen(url)
    cookies = browser.call('Network.getCookies')['cookies']
    headers = {'Cookie': '; '.join(f'{cookie["name"]}={cookie["value"]}' for cookie in cookies)}
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as answer:
        pixels = cv2.imdecode(np.frombuffer(answer.read(), np.uint8), cv2.IMREAD_COLOR)
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), line


@pytest.mark.slow
def test_page_in_a_browser(server, tiny_checkpoint, tmp_path):
    executable = find_browser()
    if not executable:
        pytest.skip('there is no Chromium (Debian: apt-get install chromium)')
    photograph = data.chelsea()
    region = np.array(Image.open(demo.examples(tmp_path)[0][1])) > 127
    with Browser(executable, tmp_path / 'profile') as browser:
        browser.call('Page.navigate', url=server.url)
        browser.wait_for(
            "document.querySelector('canvas') && document.querySelectorAll('tbody tr').length === 3"
        )
        empty = editor_picture(browser)
        browser.evaluate("document.querySelector('tbody tr').click()")
        until_settled(browser, empty)
        restored, line = restored_by(browser, '1 region ')
        expected = demo.try_out(
            load_restorer(tiny_checkpoint, 'cpu'),
            {
                'background': np.dstack([photograph, np.full(region.shape, 255, np.uint8)]),
                'layers': [paint(region)],
            },
            damage='pixelize',
        )
        assert (
            line.startswith('pixelized in squares of 7 pixels; 1 region restored')
            and 'largest change outside: 0' in line
        )
        assert (restored[~region] == photograph[~region]).all()
        assert (
            np.abs(restored.astype(int) - expected.restored).max() <= 1
            and (restored != photograph)[region].mean() > 0.5
        )
        assert (
            browser.evaluate("document.querySelectorAll('#damaged img, #difference img').length")
            == 2
        )

        # A stroke with the mouse, near the left end of the picture, which is centred in the editor:
        # a second region. The editor draws a ring round the pointer, and takes strokes from then
        # on; the stroke ends where it began, so that the ring is no difference.
        before, box = editor_picture(browser), editor_box(browser)
        x, y = box['x'] + box['width'] / 2 - 140, box['y'] + box['height'] / 2
        browser.mouse('mouseMoved', x, y)
        until_settled(browser, before)
        before = editor_picture(browser)
        browser.drag([(x, y + shift) for shift in (0, 10, 20, 10, 0)])
        until_settled(browser, before)
        again, line = restored_by(browser, '2 regions ')
        changed = (again != photograph).any(axis=2)
        assert (
            'largest change outside: 0' in line
            and changed[:, :130].sum() > 100
            and not changed[:, 130:][~region[:, 130:]].any()
        )

        hosts = {
            urllib.parse.urlsplit(url).netloc
            for url in browser.requested
            if url.startswith(('http', 'ws'))
        }
        assert hosts == {urllib.parse.urlsplit(server.url).netloc} and not browser.errors


def test_nothing_is_asked_of_other_hosts(server):
    with urllib.request.urlopen(server.url) as answer:
        page = answer.read().decode()
        assert "default-src 'self'" in answer.headers['content-security-policy']
    assert '127.0.0.1' in server.line and 'fonts.googleapis' not in page
    lines = server.log.read_text().splitlines()
    assert lines[0] == 'watching' and set(lines) == {'watching'}, lines


def test_ctrl_c_ends_it_and_leaves_nothing(server):
    with urllib.request.urlopen(server.url):
        pass
    assert any(server.temporary.glob('basicsr_demo_*'))
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(30) == 130
    assert not any(server.temporary.glob('basicsr_demo_*'))
