"""Serve the page inside a test, and ask it as a client would."""

import base64
import http.client
import json
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np
import uvicorn
from browser import Browser

from hmaca_arch.inference import Restorer
from hmaca_arch.page.app import build_app
from hmaca_arch.page.demo import listen
from hmaca_arch.page.guard import Guard
from hmaca_arch.page.routes import Routes
from hmaca_arch.page.sessions import Sessions

INSIDE = np.zeros((40, 48), bool)
INSIDE[10:22, 8:30] = True


def png(pixels: np.ndarray) -> bytes:
    """Encode pixels as a PNG file; colours are RGB."""
    if pixels.dtype == bool:
        pixels = 255 * pixels.astype(np.uint8)
    if pixels.ndim == 3 and pixels.shape[2] == 3:
        pixels = pixels[..., ::-1]
    elif pixels.ndim == 3 and pixels.shape[2] == 4:
        pixels = pixels[..., [2, 1, 0, 3]]
    return cv2.imencode('.png', pixels)[1].tobytes()


def pixels_of(data: bytes) -> np.ndarray:
    """Decode a file by OpenCV, another reader than the project's; colours are RGB."""
    found = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if found.ndim == 3:
        found = found[..., [2, 1, 0, 3][: found.shape[2]]]
    return found


def colours(*shape: int, seed: int = 0) -> np.ndarray:
    """Random colours of a shape (h, w, ...), uint8."""
    return np.random.default_rng(seed).integers(30, 220, shape or (40, 48, 3), dtype=np.uint8)


KEY_CODES = {'Enter': 13, 'Escape': 27, 'Delete': 46}


class Served:
    """The page in a thread of this process; as a context manager it ends the page."""

    def __init__(self, folder: Path, restorer: Restorer, root_path: str = '') -> None:
        self.listening = listen('127.0.0.1', 0)
        self.port = self.listening.getsockname()[1]
        self.sessions = Sessions(self.port, root_path)
        self.routes = Routes(restorer, folder, self.sessions)
        app = Guard(build_app(self.routes), '127.0.0.1', self.port, root_path=root_path)
        config = uvicorn.Config(app, log_level='error', timeout_graceful_shutdown=1)
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, kwargs={'sockets': [self.listening]})
        self.address = f'127.0.0.1:{self.port}'
        self.url = f'http://{self.address}'

    def __enter__(self) -> 'Served':
        self.thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.routes.queue.close()
        self.server.should_exit = True
        self.thread.join()
        self.listening.close()


class Answer:
    """An answer: its status, headers with names in lower case, and body."""

    def __init__(self, answer: http.client.HTTPResponse) -> None:
        self.status = answer.status
        self.headers = {name.lower(): value for name, value in answer.getheaders()}
        self.body = answer.read()

    @property
    def json(self) -> Any:
        """The body, read as JSON."""
        return json.loads(self.body)

    @property
    def detail(self) -> str:
        """What is wrong."""
        return self.json['detail']

    @property
    def notes(self) -> list[str]:
        """The notes beside a file."""
        return json.loads(self.headers['x-notes'])


def form(fields: dict[str, Any]) -> tuple[bytes, str]:
    """Return a form's body and its content type. A file is (name, content), or content alone."""
    parts = []
    for name, value in fields.items():
        head = f'Content-Disposition: form-data; name="{name}"'
        if isinstance(value, bytes):
            value = (f'{name}.png', value)
        if isinstance(value, tuple):
            head += f'; filename="{value[0]}"\r\nContent-Type: application/octet-stream'
            value = value[1]
        else:
            value = str(value).encode()
        parts.append(b'--xyz\r\n' + head.encode() + b'\r\n\r\n' + value + b'\r\n')
    return b''.join([*parts, b'--xyz--\r\n']), 'multipart/form-data; boundary=xyz'


class Visitor:
    """A client that keeps its cookie, and sends what it likes."""

    def __init__(self, address: str, auth: str = '') -> None:
        self.address, self.cookie = address, ''
        self.auth = f'Basic {base64.b64encode(auth.encode()).decode()}' if auth else ''
        self.cookie = self.ask('GET', '/').headers['set-cookie'].split(';')[0]

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        """Send a request; names of headers have _ for -."""
        connection = http.client.HTTPConnection(self.address, timeout=600)
        given = {name.replace('_', '-'): value for name, value in headers.items()}
        if self.cookie:
            given['Cookie'] = self.cookie
        if self.auth:
            given['Authorization'] = self.auth
        try:
            connection.request(method, path, body, given)
            return Answer(connection.getresponse())
        finally:
            connection.close()

    def post(self, path: str, **fields: Any) -> Answer:
        """Send a form."""
        body, kind = form(fields)
        return self.ask('POST', path, body, Content_Type=kind)

    def open(self, content: bytes, name: str = 'photo.png') -> dict:
        """Open an image; returns what the page is told about it."""
        answer = self.post('/api/images', image=(name, content))
        assert answer.status == 201, answer.body
        return answer.json

    def start(self, image: dict, mask: bytes, **settings: Any) -> dict:
        """Start a restoration; returns what the page is told about it."""
        answer = self.post(f'/api/images/{image["id"]}/jobs', mask=mask, **settings)
        assert answer.status == 202, answer.body
        return answer.json

    def finish(self, job: dict) -> dict:
        """Wait until a restoration has ended."""
        until = time.monotonic() + 600
        while job['state'] in ('waiting', 'running'):
            assert time.monotonic() < until, job
            time.sleep(0.02)
            job = self.ask('GET', f'/api/jobs/{job["id"]}').json
        return job


class Page(Browser):
    """The page in a browser.

    Args:
        executable: the browser.
        folder: for its profile and its downloads.
        url: the page's address.
        size: of the window.
        touch: whether it is a phone.
    """

    def __init__(
        self,
        executable: str,
        folder: Path,
        url: str,
        size: tuple[int, int] = (1440, 900),
        touch: bool = False,
    ) -> None:
        super().__init__(executable, folder / 'profile', size)
        self.downloads = folder / 'downloads'
        self.downloads.mkdir()
        self.call(
            'Emulation.setDeviceMetricsOverride',
            width=size[0],
            height=size[1],
            deviceScaleFactor=2 if touch else 1,
            mobile=touch,
        )
        if touch:
            self.call('Emulation.setTouchEmulationEnabled', enabled=True, maxTouchPoints=5)
        self.call('Browser.setDownloadBehavior', behavior='allow', downloadPath=str(self.downloads))
        self.call('Page.navigate', url=url)
        self.wait_for("document.body && 'ready' in document.body.dataset")

    def choose(self, field: str, *files: Path) -> None:
        """Choose files for a field."""
        root = self.call('DOM.getDocument')['root']['nodeId']
        node = self.call('DOM.querySelector', nodeId=root, selector=f'#{field}')['nodeId']
        self.call('DOM.setFileInputFiles', nodeId=node, files=[str(file) for file in files])

    def click(self, selector: str) -> None:
        """Click the middle of an element with the mouse, where it is visible."""
        x, y = self.evaluate(
            f'(box => [box.x + box.width / 2, box.y + box.height / 2])'
            f'(document.querySelector({json.dumps(selector)}).getBoundingClientRect())'
        )
        self.mouse('mouseMoved', x, y)
        self.mouse('mousePressed', x, y, pressed=True)
        self.mouse('mouseReleased', x, y)

    def key(self, key: str, modifiers: int = 0) -> None:
        """Press a key. modifiers: 1 Alt, 2 Ctrl, 8 Shift."""
        more: dict[str, Any] = {'windowsVirtualKeyCode': KEY_CODES.get(key, 0)}
        for kind in ('keyDown', 'keyUp'):
            if kind == 'keyDown' and len(key) == 1 and not modifiers:
                more['text'] = key
            self.call('Input.dispatchKeyEvent', type=kind, key=key, modifiers=modifiers, **more)

    def touch(self, kind: str, *points: tuple[float, float]) -> None:
        """Touch. kind: touchStart, touchMove or touchEnd; points: of all fingers that stay."""
        fingers = [{'x': x, 'y': y, 'id': number} for number, (x, y) in enumerate(points)]
        self.call('Input.dispatchTouchEvent', type=kind, touchPoints=fingers)

    def swipe(self, points: list[tuple[float, float]]) -> None:
        """Draw with one finger."""
        self.touch('touchStart', points[0])
        for point in points[1:]:
            self.touch('touchMove', point)
        self.touch('touchEnd')

    def wait_for_mode(self, mode: str) -> None:
        """Wait until the page is in a mode: empty, paint, busy or compare."""
        self.wait_for(f"document.body.dataset.mode === '{mode}'")

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Return where a point of the image is in the window."""
        found = self.evaluate(
            "import('/static/stage.js').then(({ stage, view }) => {"
            ' const box = stage.getBoundingClientRect();'
            f' return [box.x + view.x + {x} * view.scale, box.y + view.y + {y} * view.scale]; }})'
        )
        return found[0], found[1]

    def mask(self) -> np.ndarray:
        """Return what is painted, (h, w) bool."""
        width, height, text = self.evaluate(
            "import('/static/stage.js').then(({ state: { mask } }) =>"
            " [mask.width, mask.height, mask.data.join('')])"
        )
        return (np.frombuffer(text.encode(), np.uint8) == ord('1')).reshape(height, width)

    def seen(self, *points: tuple[float, float]) -> list[list[int]]:
        """Return the colours that the canvas of the image has at points of the window."""
        return self.evaluate(
            '(canvas => { const box = canvas.getBoundingClientRect();'
            ' const ratio = canvas.width / box.width; const context = canvas.getContext("2d");'
            f' return {json.dumps(points)}.map(([x, y]) => [...context.getImageData('
            '   Math.floor((x - box.x) * ratio), Math.floor((y - box.y) * ratio), 1, 1).data]); })'
            "(document.querySelector('#image-canvas'))"
        )

    def downloaded(self) -> Path:
        """Wait for a download that is complete, and return it."""
        until = time.monotonic() + 600
        while True:
            files = [file for file in self.downloads.iterdir() if file.suffix != '.crdownload']
            if files and files[0].stat().st_size:
                return files[0]
            assert time.monotonic() < until, 'nothing was downloaded'
            time.sleep(0.1)
