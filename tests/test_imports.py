"""The rooms stand on top of each other: what imports what, read from the source, and what an import
really loads.
"""

import ast
import subprocess
import sys

import pytest
from conftest import ROOT, environment

# From the roof to the ground. A room imports those below it, and those of its own line as long as
# there is no circle.
FLOORS = [
    ('hmaca_arch', 'hmaca_arch.__main__'),  # the public names, which come when they are asked for
    ('hmaca_arch.cli',),
    ('hmaca_arch.commands',),
    ('hmaca_arch.experiments', 'hmaca_arch.page', 'hmaca_arch.export', 'hmaca_arch.comfyui'),
    ('hmaca_arch.models',),
    ('hmaca_arch.training', 'datasets_ext', 'losses_ext'),
    ('hmaca_arch.config',),
    ('hmaca_arch.inference', 'hmaca_arch.spandrel_support'),
    ('hmaca_arch.networks', 'hmaca_arch.restoring', 'hmaca_arch.metrics'),
    (
        'hmaca_arch.files',
        'hmaca_arch.degradation',
        'hmaca_arch.compositing',
        'hmaca_arch.messages',
        'hmaca_arch.interrupts',
        'hmaca_arch.compat',
        'hmaca_arch.devices',
    ),
]
MAY_IMPORT_DATASETS = (
    'hmaca_arch.commands',
    'hmaca_arch.experiments',
    'hmaca_arch.page',
    'hmaca_arch.export',
    'hmaca_arch.models',
)
PACKAGES = ('hmaca_arch', 'datasets_ext', 'losses_ext')


def modules() -> dict[str, str]:
    """{dotted name: source} of every file."""
    files = sorted(path for package in PACKAGES for path in (ROOT / package).rglob('*.py'))
    return {
        '.'.join(path.relative_to(ROOT).with_suffix('').parts).removesuffix(
            '.__init__'
        ): path.read_text('utf-8')
        for path in files
    }


def imported(source: str, known) -> set[str]:
    """Which of the known modules a source imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [f'{node.module}.{alias.name}' for alias in node.names]
        else:
            continue
        for name in names:
            while name and name not in known:
                name = name.rpartition('.')[0]
            found |= {name} if name else set()
    return found


def room_of(module: str) -> str:
    """The longest name in FLOORS that the module is, or lies in."""
    rooms = [
        room
        for floor in FLOORS
        for room in floor
        if module == room or (module.startswith(f'{room}.') and room != 'hmaca_arch')
    ]
    assert rooms, f'{module} has no room: expected one of {FLOORS}'
    return max(rooms, key=len)


def circle(arrows: dict[str, set[str]]) -> list[str]:
    """Some circle, its first name again at its end; [] if there is none."""
    done: set[str] = set()

    def search(name: str, way: list[str]) -> list[str]:
        if name in way:
            return [*way[way.index(name) :], name]
        if name in done:
            return []
        for other in sorted(arrows[name]):
            if found := search(other, [*way, name]):
                return found
        done.add(name)
        return []

    return next((found for name in sorted(arrows) if (found := search(name, []))), [])


def complaints(sources: dict[str, str]) -> list[str]:
    """A line for each arrow that points up or to the data sets from where none may, and for a
    circle of files or of rooms.
    """
    arrows = {name: imported(source, sources) - {name} for name, source in sources.items()}
    floor = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
    lines, rooms = [], {}
    for name, others in arrows.items():
        for other in others:
            here, there = room_of(name), room_of(other)
            rooms.setdefault(here, set()), rooms.setdefault(there, set())
            if here == there or there == 'hmaca_arch':  # importing the package alone loads nothing
                continue
            rooms[here].add(there)
            if floor[here] > floor[there]:
                lines.append(f'{name} imports {other}, which stands above it')
            if there == 'datasets_ext' and not here.startswith(
                (*MAY_IMPORT_DATASETS, 'datasets_ext')
            ):
                lines.append(f'{name} imports {other}: nothing below models does')
    files = {
        name: {other for other in others if other != 'hmaca_arch'}
        for name, others in arrows.items()
    }
    return [
        *lines,
        *(f'a circle: {" > ".join(found)}' for found in (circle(files), circle(rooms)) if found),
    ]


def test_imports_point_down_and_make_no_circle():
    assert complaints(modules()) == []


@pytest.mark.parametrize(
    ('module', 'line', 'said'),
    [
        (
            'hmaca_arch.networks.hmaca',
            'from hmaca_arch.training import pipeline',
            'hmaca_arch.networks.hmaca imports hmaca_arch.training',
        ),
        (
            'hmaca_arch.training.sampling',
            'import datasets_ext',
            'hmaca_arch.training.sampling imports datasets_ext: nothing below',
        ),
        (
            'hmaca_arch.networks.windows',
            'from hmaca_arch.networks.hmaca import HMACA',
            'a circle: ',
        ),
        (
            'hmaca_arch.files.outputs',
            'def late():\n    import hmaca_arch.cli',
            'hmaca_arch.files.outputs imports hmaca_arch.cli',
        ),
        (
            'losses_ext.alpha_masked_l1',
            'from hmaca_arch.models import MaskedRestorationModel',
            'losses_ext.alpha_masked_l1 imports',
        ),
    ],
)
def test_an_arrow_that_points_up_is_named(module, line, said):
    sources = modules()
    sources[module] += f'\n{line}\n'
    assert any(complaint.startswith(said) for complaint in complaints(sources))


def test_one_function_ends_every_command():
    """Nothing but `cli.end` calls sys.exit; argparse does, and stopping.Stopped passes through."""
    calls = {name for name, source in modules().items() if 'sys.exit(' in source}
    assert calls == {'hmaca_arch.cli'}


def loaded(code: str) -> set[str]:
    """The modules that a fresh process has after running the code."""
    result = subprocess.run(
        [sys.executable, '-c', f'import sys\n{code}\nprint(*sys.modules)'],
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    return set(result.stdout.splitlines()[-1].split())


def ours(names: set[str]) -> set[str]:
    return {name for name in names if name.split('.')[0] in (*PACKAGES, 'basicsr')}


def test_compositing_loads_nothing_else():
    assert ours(loaded('import hmaca_arch.compositing')) == {
        'hmaca_arch',
        'hmaca_arch.compat',
        'hmaca_arch.compositing',
    }


def test_inference_loads_neither_training_nor_options_nor_basicsr():
    names = ours(
        loaded('from hmaca_arch.inference import load_restorer\nload_restorer(device="cpu")')
    )
    not_needed = (
        'basicsr',
        'datasets_ext',
        'losses_ext',
        *(f'hmaca_arch.{room}' for room in ('training', 'config', 'commands', 'models')),
    )
    assert 'hmaca_arch.networks.hmaca' in names and not [
        name for name in names if name.startswith(not_needed)
    ]


def test_the_package_and_the_list_of_commands_load_no_torch():
    assert not {'torch', 'numpy', 'basicsr'} & loaded('import hmaca_arch')
    shown = loaded(
        'import hmaca_arch.cli\ntry:\n    hmaca_arch.cli.main(["--help"])\nexcept SystemExit:\n    pass'
    )
    assert not {'torch', 'numpy', 'basicsr'} & shown
