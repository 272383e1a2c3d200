"""`basicsr comfyui-install`: put the nodes into a ComfyUI."""

import argparse
from pathlib import Path

import hmaca_arch
from hmaca_arch.commands.parsing import Parser
from hmaca_arch.files.atomic import write_atomically
from hmaca_arch.messages import printable, say

DESCRIPTION = """Put the nodes Load HMACA Model, Restore Region and Measure Degradation into a
ComfyUI, with example workflows. Run it again after this package has moved. To remove the nodes,
delete the folder custom_nodes/hmaca."""
NODES = Path(hmaca_arch.__file__).resolve().parent / 'comfyui'
WORKFLOWS = 'example_workflows'  # where ComfyUI looks for templates
MARK = 'Written by `basicsr comfyui-install`.'
ENTRY = '''"""The nodes of HMACA. {mark}"""

import runpy

_entry = runpy.run_path({file!r})
NODE_CLASS_MAPPINGS = _entry['NODE_CLASS_MAPPINGS']
NODE_DISPLAY_NAME_MAPPINGS = _entry['NODE_DISPLAY_NAME_MAPPINGS']
'''


def install(comfyui: Path) -> Path:
    """Write `custom_nodes/hmaca`: a file that leads to the nodes, and the workflows.

    Args:
        comfyui: ComfyUI's folder.

    Returns:
        The folder with the nodes.

    Raises:
        OSError, ValueError: it is no ComfyUI, or something else is there; nothing was changed.
    """
    nodes = comfyui / 'custom_nodes'
    if not nodes.is_dir():
        raise FileNotFoundError(
            f'{comfyui.absolute()} has no folder custom_nodes; expected the folder of a ComfyUI'
        )
    target = nodes / 'hmaca'
    entry = target / '__init__.py'
    if target.is_symlink() or (target.exists() and not _is_ours(entry)):
        what = 'a link' if target.is_symlink() else 'something else'
        raise ValueError(f'{target} is {what} already; remove it first')
    (target / WORKFLOWS).mkdir(parents=True, exist_ok=True)
    for file in sorted((NODES / WORKFLOWS).iterdir()):
        write_atomically(target / WORKFLOWS / file.name, file.read_bytes())
    write_atomically(entry, ENTRY.format(mark=MARK, file=str(NODES / '__init__.py')).encode())
    return target


def _is_ours(entry: Path) -> bool:
    return entry.is_file() and MARK in entry.read_text(encoding='utf-8', errors='replace')


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = Parser(prog='basicsr comfyui-install', description=DESCRIPTION)
    parser.add_argument('path', type=Path, metavar='PATH', help="ComfyUI's folder")
    return parser


def main(argv: list[str]) -> None:
    """Run the command; errors as in `install`."""
    args = parser().parse_args(argv)
    target = install(args.path)
    say(f'{printable(target)}: restart ComfyUI, then see Templates, hmaca')
    say(f'checkpoints go to {printable(args.path / "models" / "hmaca")}')
    say("ComfyUI's Python needs opencv-python as well; it need not have this package")
