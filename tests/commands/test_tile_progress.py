"""One large image on a terminal: the bar moves tile by tile, and Ctrl-C leaves nothing behind."""

import contextlib
import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
from pathlib import Path

import numpy as np
from conftest import command_line, environment
from PIL import Image

from hmaca_arch.restoring.planning import Job
from hmaca_arch.restoring.running import shown_progress

SHOWN = re.compile(rb'1/1 image\.png +(\d+)%\|.*?\| (\d\d:\d\d)<(\d\d:\d\d|\?)')


def test_a_terminal_without_a_size_has_a_bar(monkeypatch):
    terminal, end = pty.openpty()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack('HHHH', 0, 0, 0, 0))
    monkeypatch.delenv('COLUMNS', raising=False)
    monkeypatch.delenv('LINES', raising=False)
    job = Job(Path('image.png'), None, Path('out.png'))
    with open(end, 'w', encoding='utf-8') as file:
        monkeypatch.setattr(sys, 'stderr', file)
        with shown_progress([job]) as follow:
            follow(job)(1, 2)
        monkeypatch.undo()
    text = b''
    with contextlib.suppress(OSError):  # Linux's end of a terminal that nobody has open
        while more := os.read(terminal, 1000):
            text += more
    os.close(terminal)
    assert b'1/1 image.png' in text and b'%|' in text


def test_ctrl_c_within_an_image(tmp_path, tiny_checkpoint):
    pixels = np.random.default_rng(0).integers(0, 256, (1000, 1000, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / 'image.png')
    files = ('-i', 'image.png', '--box', '0,0,1000,1000', '-o', 'out/image.png')
    settings = ('--weights', tiny_checkpoint, '--device', 'cpu', '--tile', '48', '--batch', '1')
    terminal, end = pty.openpty()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack('HHHH', 24, 100, 0, 0))
    process = subprocess.Popen(
        command_line('restore', *files, *settings), cwd=tmp_path, env=environment(), stderr=end
    )
    os.close(end)
    text, shown = b'', {}
    while len([left for left in shown.values() if left != b'?']) < 4:
        text += os.read(terminal, 1000)
        shown = {int(percent): left for percent, _, left in SHOWN.findall(text)}
    assert max(shown) < 100, 'the bar moved before the image was done'
    os.kill(process.pid, signal.SIGINT)
    while True:
        try:
            text += os.read(terminal, 1000)
        except OSError:  # Linux: nobody has the other end any more
            break
    os.close(terminal)
    assert process.wait(timeout=60) == 130 and b'basicsr restore: interrupted' in text
    left = [path.name for path in (tmp_path / 'out').rglob('*')]
    assert left == [], 'no output, and no temporary file'
