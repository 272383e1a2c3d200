"""Test `basicsr demo` as a command: who may reach the page, what it reaches, how it ends."""

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import urllib.parse
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from conftest import ROOT, command_line, environment
from serving import INSIDE, Served, Visitor, colours, pixels_of, png

from hmaca_arch import cli
from hmaca_arch.commands.demo import main
from hmaca_arch.inference import load_restorer
from hmaca_arch.messages import how_to_install
from hmaca_arch.page import demo


def command(*arguments, capsys) -> tuple[int, str]:
    with pytest.raises(SystemExit) as end:
        cli.main(['demo', *map(str, arguments)])
    return end.value.code, capsys.readouterr().err


@pytest.mark.parametrize('module', ['starlette', 'uvicorn', 'python_multipart'])
def test_without_the_extra_one_line_names_it(monkeypatch, capsys, tiny_checkpoint, module):
    monkeypatch.setitem(sys.modules, module, None)
    code, err = command('--weights', tiny_checkpoint, '--port', 0, capsys=capsys)
    assert code == 1 and err.count('\n') == 1
    assert f'needs the module {module}' in err and how_to_install('demo') in err


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


def test_a_port_that_is_none():
    with pytest.raises(OSError, match='port 70000'):
        main(['--device', 'cpu', '--port', '70000'])


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
        (['--root-path', 'restore'], '', "--root-path is 'restore'; expected a path such as"),
    ],
)
def test_who_may_reach_it(arguments, environment, message, monkeypatch, capsys, tiny_checkpoint):
    monkeypatch.setattr(demo, 'check_installed', Mock())
    monkeypatch.setenv('HMACA_AUTH', environment)
    code, err = command(
        '--weights', tiny_checkpoint, '--device', 'cpu', '--port', 0, *arguments, capsys=capsys
    )
    assert code == 1 and err.count('\n') == 1 and message in err and 'secret' not in err
    demo.check_installed.assert_not_called()


# The command as a process

WATCH = """import sys
log = open({log!r}, 'a', buffering=1)
log.write('watching\\n')
def note(event, arguments):
    if event in ('socket.connect', 'socket.getaddrinfo'):
        log.write(f'{{event}} {{arguments[-1] if event == "socket.connect" else arguments[0]}}\\n')
sys.addaudithook(note)
"""


class Process:
    """The command as a process whose every attempt to reach a host is written to `log`."""

    def __init__(self, folder: Path, *arguments, **more: str) -> None:
        self.log = folder / 'connections.txt'
        (folder / 'sitecustomize.py').write_text(WATCH.format(log=str(self.log)))
        self.temporary = folder / 'tmp'
        self.temporary.mkdir()
        environ = environment() | more
        environ['PYTHONPATH'] = os.pathsep.join([str(folder), environ['PYTHONPATH']])
        environ['TMPDIR'] = str(self.temporary)
        self.process = subprocess.Popen(
            command_line('demo', '--port', 0, '--device', 'cpu', *arguments),
            cwd=folder,
            env=environ,
            text=True,
            stdout=subprocess.PIPE,
        )
        self.line = self.process.stdout.readline()
        self.port = int(re.search(r':(\d+)(/| )', self.line)[1])

    def __enter__(self) -> 'Process':
        return self

    def __exit__(self, *_) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


def test_it_reaches_nobody_and_ctrl_c_leaves_nothing(tmp_path, tiny_checkpoint):
    with Process(tmp_path, '--weights', tiny_checkpoint) as page:
        assert page.line == f'http://127.0.0.1:{page.port} shows the page, Ctrl-C ends it\n'
        visitor = Visitor(f'127.0.0.1:{page.port}')
        job = visitor.start(visitor.open(png(colours())), png(INSIDE), context=4)
        assert visitor.finish(job)['state'] == 'done'
        kept = [file for file in page.temporary.rglob('*') if file.is_file()]
        assert png(colours()) in [file.read_bytes() for file in kept]
        assert all(
            file.is_relative_to(next(page.temporary.glob('basicsr_demo_*'))) for file in kept
        )
        assert set(page.log.read_text().splitlines()) == {'watching'}
        page.process.send_signal(signal.SIGINT)
        assert page.process.wait(30) == 130
        assert not list(page.temporary.iterdir())


def test_ctrl_c_ends_a_restoration(tmp_path):
    with Process(tmp_path) as page:  # the shipped weights take seconds for this
        visitor = Visitor(f'127.0.0.1:{page.port}')
        image = visitor.open(png(colours(900, 900, 3)))
        job = visitor.start(image, png(np.ones((900, 900), bool)))
        while job['state'] == 'waiting':
            job = visitor.ask('GET', f'/api/jobs/{job["id"]}').json
        page.process.send_signal(signal.SIGINT)
        assert page.process.wait(60) == 130
        assert not list(page.temporary.iterdir())


@pytest.mark.slow
def test_sigterm_ends_it_as_well(tmp_path, tiny_checkpoint):
    with Process(tmp_path, '--weights', tiny_checkpoint) as page:
        Visitor(f'127.0.0.1:{page.port}').open(png(colours()))
        page.process.send_signal(signal.SIGTERM)
        assert page.process.wait(60) == 128 + signal.SIGTERM
        assert not list(page.temporary.iterdir())


@pytest.mark.slow
def test_a_second_ctrl_c_removes_the_uploads_too(tmp_path):
    with Process(tmp_path) as page:
        visitor = Visitor(f'127.0.0.1:{page.port}')
        job = visitor.start(visitor.open(png(colours(900, 900, 3))), png(np.ones((900, 900), bool)))
        while job['state'] == 'waiting':
            job = visitor.ask('GET', f'/api/jobs/{job["id"]}').json
        page.process.send_signal(signal.SIGINT)
        page.process.send_signal(signal.SIGINT)
        assert page.process.wait(60) == 130
        assert not list(page.temporary.iterdir())


def test_password_on_every_route(tmp_path, tiny_checkpoint):
    options = ['--host', '0.0.0.0', '--allow-host', 'demo.example', '--root-path', '/restore']
    with Process(tmp_path, '--weights', tiny_checkpoint, *options, HMACA_AUTH='me:secret') as page:
        assert page.line.startswith(f'http://0.0.0.0:{page.port}/restore ')
        address = f'127.0.0.1:{page.port}'
        known = Visitor(address, 'me:secret')
        wrong = Visitor.__new__(Visitor)
        wrong.address, wrong.cookie, wrong.auth = address, '', ''
        other = {'Host': 'other.example'}
        for path, status in [('/', 200), ('/restore/', 200), ('/api/about', 200), ('/x', 404)]:
            assert known.ask('GET', path).status == status
            assert known.ask('GET', path, Host='demo.example').status == status
            assert known.ask('GET', path, **other).status == 403
            assert wrong.ask('GET', path).status == 401
        wrong.auth = 'Basic bWU6b3RoZXI='
        assert [wrong.ask('GET', '/').status for _ in range(12)] == 10 * [401] + 2 * [429]
        assert known.ask('GET', '/').status == 200
        assert known.post('/api/restore', image=png(colours()), mask=png(INSIDE)).status == 200


def test_no_websockets(tmp_path, tiny_checkpoint):
    with Served(tmp_path, load_restorer(tiny_checkpoint, 'cpu')) as page:
        upgrade = {
            'Connection': 'Upgrade',
            'Upgrade': 'websocket',
            'Sec_WebSocket_Key': f'{"A" * 22}==',
            'Sec_WebSocket_Version': '13',
        }
        # Where uvicorn has no package for them it takes this for a plain request.
        answer = Visitor(page.address).ask('GET', '/api/x', **upgrade)
        assert answer.status in (403, 404)


# What docs/restore.md shows


def shown(language: str) -> list[str]:
    """The blocks of code in a language that name api/restore."""
    text = (ROOT / 'docs' / 'restore.md').read_text(encoding='utf-8')
    blocks = re.findall(rf'```{language}\n(.*?)```', text, re.DOTALL)
    return [block for block in blocks if 'api/restore' in block]


def test_the_documented_requests_work(tmp_path, tiny_checkpoint, monkeypatch):
    restorer = load_restorer(tiny_checkpoint, 'cpu')
    wanted = restorer.run(colours(), INSIDE).image
    (tmp_path / 'photo.png').write_bytes(png(colours()))
    (tmp_path / 'mask.png').write_bytes(png(INSIDE))
    (tmp_path / 'pages').mkdir()
    monkeypatch.chdir(tmp_path)
    with Served(tmp_path / 'pages', restorer) as page:
        (python,) = shown('python')
        exec(python.replace('127.0.0.1:7860', page.address), {})
        np.testing.assert_array_equal(pixels_of((tmp_path / 'restored.png').read_bytes()), wanted)
        (tmp_path / 'restored.png').unlink()
        (line,) = [
            line.replace('127.0.0.1:7860', page.address)
            for block in shown('sh')
            for line in block.replace('\\\n', ' ').splitlines()
        ]
        try:
            subprocess.run(shlex.split(line), check=True, capture_output=True)
        except FileNotFoundError:
            pytest.skip('there is no curl')
        np.testing.assert_array_equal(pixels_of((tmp_path / 'restored.png').read_bytes()), wanted)


def test_the_page_is_in_the_package():
    setup = (ROOT / 'setup.py').read_text(encoding='utf-8')
    assert "'page/static/*'" in setup
    static = ROOT / 'hmaca_arch' / 'page' / 'static'
    assert {file.suffix for file in static.iterdir()} == {'.html', '.css', '.js', '.svg'}
    for file in static.glob('*.js'):
        for name in re.findall(r"from '\./([\w.]+)'", file.read_text(encoding='utf-8')):
            assert (static / name).is_file(), f'{file.name} imports {name}'


@pytest.mark.slow
def test_the_address_that_is_printed_for_ipv6(tmp_path, tiny_checkpoint):
    try:
        socket.create_server(('::1', 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip('there is no IPv6')
    with Process(tmp_path, '--weights', tiny_checkpoint, '--host', '::1') as page:
        address = urllib.parse.urlsplit(page.line.split(' ')[0]).netloc
        assert address == f'[::1]:{page.port}'
        assert Visitor(address).ask('GET', '/api/about').status == 200
