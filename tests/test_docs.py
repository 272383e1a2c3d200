"""README and docs: links and anchors, width, and commands that the real parsers take. The examples
run.
"""

import argparse
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import ROOT, environment
from PIL import Image

import datasets_ext  # noqa: F401  (registers what option files name)
import losses_ext  # noqa: F401
from hmaca_arch import cli
from hmaca_arch.config import files, shipped

README = ROOT / 'README.md'
PAGES = [
    README,
    *(ROOT / name for name in ('CHANGELOG.md', 'CONTRIBUTING.md', 'SECURITY.md')),
    *sorted((ROOT / 'docs').rglob('*.md')),
]
SITE = [page for page in PAGES if page.is_relative_to(ROOT / 'docs')]
EXAMPLES = ROOT / 'docs' / 'examples'
# What stands in a command for something of the reader's, such as an own option file.
PLACEHOLDERS = ('FILE', 'NAME', 'COMMAND', '...', 'my_scratches.yml')

each_page = pytest.mark.parametrize('page', PAGES, ids=lambda page: str(page.relative_to(ROOT)))


class Parsed(Exception):
    """A command's arguments, instead of what the command does."""


def without_code(text: str) -> str:
    return re.sub(r'```.*?```', '', text, flags=re.DOTALL)


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and the site make them."""
    headings = re.findall(
        r'^#+ (.*)$', without_code(page.read_text(encoding='utf-8')), re.MULTILINE
    )
    return {re.sub(r'[^\w\- ]', '', heading.lower()).replace(' ', '-') for heading in headings}


def commands(page: Path) -> list[str]:
    """Lines of code blocks, and code in the text, that begin as a command does."""
    text = page.read_text(encoding='utf-8')
    fences = re.findall(r'^ *```(\w*)\n(.*?)^ *```', text, re.DOTALL | re.MULTILINE)
    blocks = [block for language, block in fences if language in ('', 'sh')]
    lines = [line.strip() for block in blocks for line in block.replace('\\\n', ' ').splitlines()]
    lines += [' '.join(code.split()) for code in re.findall(r'`([^`]+)`', without_code(text))]
    begins = r'(basicsr [a-z-]+( |$)|torchrun |srun |bash scripts/|python (-m hmaca_arch|scripts/|docs/))'
    return [line for line in dict.fromkeys(lines) if re.match(begins, line)]


def arguments(command: str) -> list[str]:
    """What `basicsr` is given by a command, or [] if it is another program."""
    words = shlex.split(command, comments=True)
    if 'hmaca_arch' in words:
        return words[words.index('hmaca_arch') + 1 :]
    if words[0] == 'basicsr':
        return words[1:]
    script = Path(words[1]).stem.replace('_', '-')
    return [script, *words[2:]] if words[0] == 'python' and script in cli.COMMANDS else []


ALL = sorted(
    {command for page in PAGES if page.name != 'CHANGELOG.md' for command in commands(page)}
)


def test_the_readme_is_short_and_narrow():
    lines = README.read_text(encoding='utf-8').splitlines()
    assert len(lines) <= 140
    assert [line for line in lines if len(line) > 100] == []
    assert 'bash scripts/quickstart.sh' in '\n'.join(
        lines[:25]
    ) and 'bash scripts/test.sh' in '\n'.join(lines[:25])
    assert 'basicsr train -opt options/train_hmaca_horse_pix.yml' in lines


@each_page
def test_lines_end_at_100_columns(page):
    lines = enumerate(page.read_text(encoding='utf-8').splitlines(), start=1)
    assert [
        number
        for number, line in lines
        if len(line) > 100 and not re.fullmatch(r'\S+', line.strip())
    ] == []


@each_page
def test_links_lead_somewhere(page):
    broken = []
    for target in re.findall(r'\]\(([^)\s]+)\)', without_code(page.read_text(encoding='utf-8'))):
        if re.match(r'https?:', target):
            continue
        name, _, anchor = target.partition('#')
        file = (page.parent / name).resolve() if name else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(target)
    assert broken == []


def test_every_page_is_in_the_index_and_in_the_site():
    names = {str(page.relative_to(ROOT / 'docs')) for page in SITE}
    index = set(
        re.findall(r'\]\((\S+\.md)\)', (ROOT / 'docs' / 'index.md').read_text(encoding='utf-8'))
    )
    site = re.findall(r'[\w/]+\.md', (ROOT / 'mkdocs.yml').read_text(encoding='utf-8'))
    assert index | {'index.md'} == names and sorted(site) == sorted(names)


@pytest.mark.parametrize('command', [c for c in ALL if len(arguments(c)) > 1])
def test_commands_have_the_options_that_they_show(command, monkeypatch):
    def stop(parser, args=None, namespace=None):
        raise Parsed(real(parser, args, namespace))

    real = argparse.ArgumentParser.parse_args
    monkeypatch.setattr(argparse.ArgumentParser, 'parse_args', stop)
    with pytest.raises(Parsed):
        cli.run_command(arguments(command))


@pytest.mark.parametrize('command', [c for c in ALL if len(arguments(c)) == 1])
def test_named_commands_exist(command):
    assert arguments(command)[0] in (*cli.COMMANDS, *PLACEHOLDERS, '--help', '--version')


def option_files() -> list[tuple[str, tuple[str, ...]]]:
    """Every option file that a command reads, with its overrides."""
    found = set()
    for command in ALL:
        words = arguments(command)
        if '-opt' in words and words[words.index('-opt') + 1] not in PLACEHOLDERS:
            changes = words[words.index('--force_yml') + 1 :] if '--force_yml' in words else []
            changes = [word for word in changes if '=' in word and word != 'data=mine.yml']
            found.add((words[words.index('-opt') + 1], tuple(changes)))
    return sorted(found)


@pytest.mark.parametrize('path, changes', option_files())
def test_option_files_and_overrides_are_valid(path, changes, monkeypatch):
    monkeypatch.chdir(ROOT)
    files.resolve(path, list(changes))


@pytest.mark.parametrize(
    'command', [c for c in ALL if re.match(r'(bash|python) (scripts|docs)/', c)]
)
def test_scripts_exist_and_know_their_options(command):
    words = shlex.split(command, comments=True)
    script = ROOT / words[1]
    if script.name == 'paper_tables.py':  # quoted from an earlier version
        return
    text = script.read_text(encoding='utf-8')
    if not arguments(command):
        known = (text, (ROOT / 'scripts' / 'environment.sh').read_text(encoding='utf-8'))
        passed = ('--cov',) if script.name == 'test.sh' else ()  # to pytest
        assert [
            w
            for w in words[2:]
            if w.startswith('--') and w not in passed and not any(w in t for t in known)
        ] == []


def test_option_files_named_in_the_text_are_shipped():
    known = {
        path.name
        for path in [
            *shipped.option_files().values(),
            *shipped.data_sets().values(),
            *EXAMPLES.iterdir(),
        ]
    }
    for page in SITE:
        for name in re.findall(r'\btrain_\w+\.yml', page.read_text(encoding='utf-8')):
            assert name in known, f'{page.name}: {name}'


def photograph(path: Path, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    image = np.asarray(
        Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)).resize(
            (72, 72), Image.BICUBIC
        )
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)
    return image


def test_the_example_that_restores_changes_the_region_only(tmp_path):
    image = photograph(tmp_path / 'photo.png', 0)
    mask = np.zeros((72, 72), np.uint8)
    mask[20:44, 24:50] = 255
    degraded = image.copy()
    noise = np.random.default_rng(1).normal(0, 20, image.shape)
    degraded[mask > 0] = np.clip(image + noise, 0, 255).astype(np.uint8)[mask > 0]
    Image.fromarray(degraded).save(tmp_path / 'photo.png')
    Image.fromarray(mask).save(tmp_path / 'mask.png')
    command = [sys.executable, EXAMPLES / 'restore.py', 'photo.png', 'mask.png', 'restored.png']
    done = subprocess.run(command, cwd=tmp_path, env=environment(), text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert '0 of 1 tiles\n1 of 1 tiles\n' in done.stdout
    restored = np.asarray(Image.open(tmp_path / 'restored.png'))
    assert np.array_equal(restored[mask == 0], image[mask == 0])
    error = [
        np.mean((version.astype(float) - image)[mask > 0] ** 2) for version in (degraded, restored)
    ]
    assert error[1] < error[0] / 2  # of noise of 20 grey levels the shipped weights remove more


def python_blocks() -> list[str]:
    """Those that need no server: the page's tests run the others."""
    text = (ROOT / 'docs' / 'restore.md').read_text(encoding='utf-8')
    blocks = re.findall(r'^```python\n(.*?)^```', text, re.DOTALL | re.MULTILINE)
    return [block for block in blocks if 'api/restore' not in block]


def test_python_in_the_page_on_restoring_runs_as_it_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    image = photograph(tmp_path / 'photo.png', 3).copy()
    image[20:44, 24:50] = 128
    Image.fromarray(image).save('photo.png')
    mask = np.zeros((72, 72), np.uint8)
    mask[20:44, 24:50] = 255
    Image.fromarray(mask).save('mask.png')
    (block,) = python_blocks()
    exec(compile(block, 'restore.md', 'exec'), {})
    restored = np.asarray(Image.open('restored.png'))
    assert np.array_equal(restored[mask == 0], image[mask == 0])
    assert not np.array_equal(restored, image)


def test_the_example_that_trains_on_images_of_ones_own_runs(tmp_path, basicsr_here):
    for part in ('train', 'val'):
        photograph(tmp_path / 'my_images' / part / 'a.png', 2)
    small = [
        'network_g:embed_dim=32',
        'network_g:depths=[1]',
        'network_g:num_heads=[2]',
        'num_gpu=0',
        'logger:use_tb_logger=false',
    ]
    short = [
        'train:total_iter=1',
        'train:scheduler:periods=[1]',
        'train:warmup_iter=0',
        'val:val_freq=1',
    ]
    short.append('datasets:train:batch_size_per_gpu=1')
    example = EXAMPLES / 'train_my_images.yml'
    for command in ('train', 'test'):
        assert basicsr_here(command, '-opt', example, '--force_yml', *small, *short) == (0, '')
    assert (tmp_path / 'experiments' / 'my_images' / 'models' / 'net_g_latest.pth').is_file()
    assert (tmp_path / 'results' / 'my_images' / 'my_val.csv').is_file()


def test_the_site_has_a_page_for_each_public_module():
    options = yaml.safe_load((ROOT / 'mkdocs.yml').read_text(encoding='utf-8'))
    assert options['docs_dir'] == 'docs'
    for page in (ROOT / 'docs' / 'api').glob('*.md'):
        for module in re.findall(r'^::: ([\w.]+)$', page.read_text(encoding='utf-8'), re.MULTILINE):
            path = ROOT / module.replace('.', '/')
            assert path.with_suffix('.py').is_file() or (path / '__init__.py').is_file()
