"""A headless Chromium, driven over the DevTools protocol by a pair of pipes: no driver and no
further package.
"""

import fcntl
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

NAMES = ('chromium', 'chromium-browser', 'google-chrome')
ARGUMENTS = [
    *(
        '--headless=new',
        '--remote-debugging-pipe',
        '--no-first-run',
        '--disable-background-networking',
        '--disable-component-update',
    ),
    *(
        '--no-sandbox',
        '--disable-dev-shm-usage',
    ),  # containers, where tests run as root, allow neither
    *(
        '--disable-gpu',
        '--use-angle=swiftshader',
        '--enable-unsafe-swiftshader',
    ),  # WebGL without a graphics card
]


def find_browser() -> str | None:
    return next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """One page. As a context manager it ends the browser.

    requested: the addresses of all that the page asked for; errors: exceptions of its scripts and
    what the console was told of.
    """

    def __init__(self, executable: str, profile: Path, size: tuple[int, int] = (1200, 900)) -> None:
        theirs_in, self.write = os.pipe()
        self.read, theirs_out = os.pipe()
        ends = [
            fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in (theirs_in, theirs_out)
        ]  # away from 3 and 4, which follow

        def give_pipes():
            os.dup2(ends[0], 3)
            os.dup2(ends[1], 4)

        self.process = subprocess.Popen(
            [
                executable,
                *ARGUMENTS,
                f'--user-data-dir={profile}',
                f'--window-size={size[0]},{size[1]}',
                'about:blank',
            ],
            close_fds=False,
            preexec_fn=give_pipes,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for end in (theirs_in, theirs_out, *ends):
            os.close(end)
        self.received, self.number, self.session = b'', 0, None
        self.requested: list[str] = []
        self.errors: list[str] = []
        targets = self.call('Target.getTargets')['targetInfos']
        target = next(target['targetId'] for target in targets if target['type'] == 'page')
        self.session = self.call('Target.attachToTarget', targetId=target, flatten=True)[
            'sessionId'
        ]
        for domain in ('Page', 'Network', 'Runtime', 'Log'):
            self.call(f'{domain}.enable')

    def __enter__(self) -> 'Browser':
        return self

    def __exit__(self, *_) -> None:
        os.close(self.write)  # upon which it ends
        os.close(self.read)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _message(self, until: float) -> dict:
        while b'\0' not in self.received:
            if not select.select([self.read], [], [], max(0, until - time.monotonic()))[0]:
                raise TimeoutError('the browser does not answer')
            data = os.read(self.read, 1 << 20)
            if not data:
                raise EOFError('the browser has ended')
            self.received += data
        message, _, self.received = self.received.partition(b'\0')
        return json.loads(message)

    def call(self, method: str, timeout: float = 60, **parameters) -> dict:
        """Call a method of the protocol; returns its result."""
        self.number += 1
        command = {'id': self.number, 'method': method, 'params': parameters}
        if self.session:
            command['sessionId'] = self.session
        os.write(self.write, json.dumps(command).encode() + b'\0')
        until = time.monotonic() + timeout
        while True:
            message = self._message(until)
            self._note(message.get('method'), message.get('params'))
            if message.get('id') == self.number:
                if 'error' in message:
                    raise RuntimeError(f'{method}: {message["error"]["message"]}')
                return message['result']

    def _note(self, event: str | None, parameters: Any) -> None:
        if event == 'Network.requestWillBeSent':
            self.requested.append(parameters['request']['url'])
        elif event == 'Runtime.exceptionThrown':
            self.errors.append(
                str(parameters['exceptionDetails'].get('exception', parameters['exceptionDetails']))
            )
        elif event == 'Log.entryAdded' and parameters['entry']['level'] == 'error':
            self.errors.append(
                f'{parameters["entry"]["text"]} {parameters["entry"].get("url", "")}'
            )

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page; promises are awaited."""
        done = self.call(
            'Runtime.evaluate', expression=expression, returnByValue=True, awaitPromise=True
        )
        if 'exceptionDetails' in done:
            raise RuntimeError(f'{expression}: {done["exceptionDetails"]}')
        return done['result'].get('value')

    def wait_for(self, expression: str, seconds: float = 120) -> Any:
        """The expression's value once it is true."""
        until = time.monotonic() + seconds
        while not (value := self.evaluate(expression)):
            if time.monotonic() > until:
                raise TimeoutError(
                    f'not true within {seconds} s: {expression}; errors: {self.errors}'
                )
            time.sleep(0.1)
        return value

    def mouse(self, kind: str, x: float, y: float, pressed: bool = False) -> None:
        """kind: mouseMoved, mousePressed or mouseReleased."""
        button = 'none' if kind == 'mouseMoved' and not pressed else 'left'
        self.call(
            'Input.dispatchMouseEvent',
            type=kind,
            x=x,
            y=y,
            button=button,
            buttons=int(pressed),
            clickCount=int(kind != 'mouseMoved'),
        )

    def drag(self, points: list[tuple[float, float]]) -> None:
        """Press the mouse at the first point, move it along, release it at the last."""
        self.mouse('mousePressed', *points[0], pressed=True)
        for point in points[1:]:
            self.mouse('mouseMoved', *point, pressed=True)
        self.mouse('mouseReleased', *points[-1])
