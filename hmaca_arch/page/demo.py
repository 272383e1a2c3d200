"""`basicsr demo`: a page in the browser on which to try a network. Open a picture, paint a region,
damage it if you like, restore it.

`try_out` is what the page's button does, and needs no Gradio. The page is served to this machine
alone unless told otherwise, and nothing on it comes from or goes to anywhere else.
"""

import os
import socket
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from datasets_ext import degradations
from hmaca_arch.files.image_files import largest_change
from hmaca_arch.inference import Restorer
from hmaca_arch.messages import how_to_install, one_line, printable, say
from hmaca_arch.metrics import calculate_masked_psnr
from hmaca_arch.page.guard import Guard, is_loopback
from hmaca_arch.page.sessions import LARGEST_UPLOAD, Sessions
from hmaca_arch.page.uploads import read_painted, read_uploads

INTRODUCTION = """# Restore a region, leave the rest as it was
Choose an example, or open a picture and paint over a region (or open a mask). If that region is not damaged yet, it can be damaged here.
What comes back is plausible, not recovered: no identity, text or evidence."""

STRENGTHS = {
    'pixelize': (3, 12),
    'blur': (0.6, 3.0),
    'noise': (3, 25),
}  # mildest and strongest: side, sigma, sigma of 255
STRONGEST = 10
AMPLIFIED = 8
MOST_WAITING = 16  # calls


class Tried(NamedTuple):
    """damaged, restored: (h, w, 3), or (h, w, 4) if something was transparent; difference: (h, w,
    3), amplified; all uint8.
    """

    damaged: np.ndarray
    restored: np.ndarray
    difference: np.ndarray
    line: str


def damage_region(
    picture: np.ndarray, mask: np.ndarray, damage: str, strength: float
) -> tuple[np.ndarray, str]:
    """Damage the region of a picture (h, w, 3) uint8, mask (h, w) bool; the same each time.

    Args:
        damage: 'pixelize', 'blur' or 'noise'.
        strength: from 1 to 10.

    Returns:
        The damaged picture, and what was done in words.

    Raises:
        ValueError: another damage or strength.
    """
    if damage not in STRENGTHS:
        raise ValueError(f'damage is {damage!r}; expected none, {", ".join(STRENGTHS)}')
    if not 1 <= strength <= STRONGEST:
        raise ValueError(f'strength is {strength!r}; expected 1 to {STRONGEST}')
    mildest, strongest = STRENGTHS[damage]
    amount = mildest + (strongest - mildest) * (strength - 1) / (STRONGEST - 1)
    inside = mask[..., None]
    if damage == 'pixelize':
        return degradations.pixelate(
            picture, inside, round(amount), 'mean'
        ), f'pixelized in squares of {round(amount)} pixels'
    if damage == 'blur':
        return degradations.blur(picture, inside, amount), f'blurred, sigma {amount:.1f} pixels'
    return degradations.noise(
        picture, inside, np.random.default_rng(0), amount
    ), f'noise added, sigma {amount:.0f} of 255'


def try_out(
    restorer: Restorer,
    painted: Mapping[str, Any] | None,
    drawn: np.ndarray | None = None,
    damage: str = 'none',
    strength: float = 5,
    context: int = 32,
    feather: int = 0,
    notes: Sequence[str] = (),
) -> Tried:
    """Damage the painted region, unless damage is 'none', and restore it.

    Args:
        painted, drawn: see `read_painted`.
        damage, strength: see `damage_region`.
        context, feather: as in `Restorer.restore`.
        notes: sentences about the files, which are shown with those of the restoration.

    Raises:
        ValueError: what cannot work, in one line.
    """
    picture, mask = read_painted(painted, drawn)
    damaged, facts = picture.copy(), []
    if damage != 'none':
        damaged[..., :3], done = damage_region(
            np.ascontiguousarray(picture[..., :3]), mask, damage, strength
        )
        facts.append(done)
    start = time.perf_counter()
    restored, regions, more = restorer.run(
        damaged, mask, context=int(context), feather=int(feather)
    )
    seconds = time.perf_counter() - start
    facts.append(
        f'{len(regions)} region{"" if len(regions) == 1 else "s"} restored in {seconds:.1f} s'
    )
    facts.append(f'largest change outside: {largest_change(damaged, restored, mask)}')
    if damage != 'none':
        before, after = (
            calculate_masked_psnr(
                version[..., :3],
                picture[..., :3],
                damaged[..., :3],
                mask[..., None].astype(np.float64),
            )
            for version in (damaged, restored)
        )
        facts.append(f'PSNR of the region {before:.2f} dB damaged, {after:.2f} dB restored')
    apart = np.abs(restored[..., :3].astype(int) - damaged[..., :3])
    difference = np.minimum(AMPLIFIED * apart, 255).astype(np.uint8)
    return Tried(damaged, restored, difference, printable('; '.join([*facts, *notes, *more])))


def examples(folder: Path) -> list[list[str]]:
    """Photographs that ship with scikit-image and a region of each, as PNG files in `folder`:
    [picture, mask, damage].
    """
    from skimage import data

    regions = {
        'chelsea': (
            'pixelize',
            lambda mask: cv2.ellipse(mask, (318, 138), (42, 32), 0, 0, 360, 255, -1),
        ),
        'coffee': ('blur', lambda mask: cv2.rectangle(mask, (280, 100), (359, 163), 255, -1)),
        'rocket': ('noise', lambda mask: cv2.rectangle(mask, (290, 170), (353, 249), 255, -1)),
    }
    found = []
    for name, (damage, draw) in regions.items():
        picture = getattr(data, name)()
        files = [str(folder / f'{name}.png'), str(folder / f'{name}_mask.png')]
        for file, pixels in zip(
            files, (picture[..., ::-1], draw(np.zeros(picture.shape[:2], np.uint8)))
        ):
            Path(file).write_bytes(cv2.imencode('.png', pixels)[1].tobytes())
        found.append([*files, damage])
    return found


def import_gradio() -> Any:
    """Gradio, told not to report home.

    Raises:
        ValueError: it is not installed.
    """
    os.environ['GRADIO_ANALYTICS_ENABLED'] = 'False'
    os.environ['HF_HUB_DISABLE_TELEMETRY'] = '1'
    try:
        import gradio
    except ModuleNotFoundError as error:
        raise ValueError(
            f'the page needs Gradio (there is no module {error.name}): {how_to_install("demo")}'
        ) from None
    return gradio


def build_page(restorer: Restorer, folder: Path) -> Any:
    """The page, a `gradio.Blocks`; its examples are written to `folder`."""
    gr = import_gradio()

    def restore(painted, drawn, damage, strength, context, feather):
        try:
            painted, drawn, notes = read_uploads(painted, drawn)
            return try_out(restorer, painted, drawn, damage, strength, context, feather, notes)
        except ValueError as error:
            raise gr.Error(one_line(error), title='Not restored', print_exception=False) from None

    with gr.Blocks(title='Restore a region', analytics_enabled=False) as page:
        gr.Markdown(INTRODUCTION)
        with gr.Row():
            with gr.Column(scale=3):
                painted = gr.ImageEditor(
                    label='Picture: paint the region',
                    format='png',
                    sources=('upload', 'clipboard'),
                    transforms=(),
                    brush=gr.Brush(colors=['#ffffff'], color_mode='fixed'),
                    layers=False,
                    buttons=[],
                )
                with gr.Row():
                    # The examples bring their region here: layers that Gradio 6.31's editor is
                    # given are lost with the next stroke.
                    drawn = gr.Image(
                        label='Or a mask, white = restore',
                        format='png',
                        sources=('upload', 'clipboard'),
                        height=240,
                        buttons=[],
                    )
                    waiting = gr.Column()  # the examples fill fields that come later
            with gr.Column(scale=2):
                damage = gr.Radio(
                    ['none', *STRENGTHS], value='none', label='Damage the region first'
                )
                strength = gr.Slider(1, STRONGEST, 5, step=1, label='Strength of the damage')
                context = gr.Slider(
                    0,
                    64,
                    32,
                    step=1,
                    label='Context: pixels around the region that the network sees',
                )
                feather = gr.Slider(
                    0,
                    16,
                    0,
                    step=1,
                    label='Feather: pixels over which the restored region fades in',
                )
                button = gr.Button('Restore', variant='primary', elem_id='restore')
                line = gr.Textbox(label='What was done', interactive=False, lines=3, elem_id='line')
        with gr.Row():
            shown = [
                gr.Image(
                    label=label,
                    format='png',
                    interactive=False,
                    elem_id=name,
                    buttons=['download', 'fullscreen'],
                )
                for name, label in (
                    ('damaged', 'Before'),
                    ('restored', 'Restored'),
                    ('difference', f'Difference, amplified {AMPLIFIED} times'),
                )
            ]
        with waiting:
            gr.Examples(examples(folder), [painted, drawn, damage], label='Examples')
        inputs = [painted, drawn, damage, strength, context, feather]
        # Without Gradio's reading of images, which ignores orientation and transparency, and cuts
        # 16 bits off at 255.
        button.click(restore, inputs, [*shown, line], api_name='restore', preprocess=False)
    return page.queue(max_size=MOST_WAITING, api_open=False)


def listen(host: str, port: int) -> socket.socket:
    """Raises an OSError that says what to do."""
    try:
        return socket.create_server(
            (host, port), family=socket.AF_INET6 if ':' in host else socket.AF_INET
        )
    except (OSError, OverflowError) as error:
        reason = getattr(error, 'strerror', None) or error
        raise OSError(
            f'cannot listen on {host}, port {port}: {reason}; choose others (--host, --port)'
        ) from None


def serve(
    restorer: Restorer, host: str, port: int, names: Iterable[str] = (), auth: bytes | None = None
) -> None:
    """Serve the page until Ctrl-C. What is uploaded and restored lies in a temporary folder
    meanwhile.

    Args:
        restorer: what the button runs.
        host, port: the address to listen on.
        names, auth: see `Guard`.

    Raises:
        ValueError: others could reach the page, and there is no password.
    """
    with (
        listen(host, port) as listening,
        tempfile.TemporaryDirectory(prefix='basicsr_demo_') as folder,
    ):
        at, port = listening.getsockname()[:2]
        if auth is None and not is_loopback(at):
            raise ValueError(
                f'--host {host} lets other machines in: set a password with --auth USER:PASSWORD or HMACA_AUTH'
            )
        gr = import_gradio()
        import fastapi
        import uvicorn

        os.environ['GRADIO_TEMP_DIR'] = folder
        # Mounted and not launched: no share link, no look for a free port, no request to itself
        # through a proxy.
        app = gr.mount_gradio_app(
            fastapi.FastAPI(),
            build_page(restorer, Path(folder)),
            path='/',
            theme=gr.themes.Default(
                font=['system-ui', 'sans-serif'], font_mono=['ui-monospace', 'monospace']
            ),
            footer_links=[],
            run_history=False,
            enable_monitoring=False,
            ssr_mode=False,
            pwa=False,
            mcp_server=False,
            max_file_size=LARGEST_UPLOAD,
        )
        address = f'[{host}]' if ':' in host else host
        app = Guard(
            Sessions(app, Path(folder), port), at, port, [f'{address}:{port}'.lower(), *names], auth
        )
        say(f'http://{address}:{port} shows the page, Ctrl-C ends it')
        config = uvicorn.Config(app, log_level='warning', timeout_graceful_shutdown=1)
        uvicorn.Server(config).run(sockets=[listening])
