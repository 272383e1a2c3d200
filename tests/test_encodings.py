"""Every text file is read and written with its encoding: Windows has another default."""

import ast
from collections.abc import Iterator

import pytest
from conftest import ROOT

FILES = sorted(
    path
    for folder in ('hmaca_arch', 'datasets_ext', 'losses_ext', 'scripts', 'docs')
    for path in (ROOT / folder).rglob('*.py')
) + [ROOT / 'setup.py']
WHERE = {'read_text': 0, 'write_text': 1}  # the place of `encoding` among the arguments


def without_encoding(code: str) -> Iterator[int]:
    """The lines of calls that leave the encoding to the system."""
    for node in ast.walk(ast.parse(code)):
        if not isinstance(node, ast.Call):
            continue
        given = {keyword.arg: keyword.value for keyword in node.keywords}
        called = node.func
        name = called.attr if isinstance(called, ast.Attribute) else getattr(called, 'id', '')
        if name in WHERE:
            missing = len(node.args) <= WHERE[name]
        elif name == 'open' and (isinstance(called, ast.Name) or not node.args):
            place = 1 if isinstance(called, ast.Name) else 0
            mode = given.get('mode', node.args[place] if len(node.args) > place else None)
            missing = not (isinstance(mode, ast.Constant) and 'b' in mode.value)
        else:
            text = given.get('text', given.get('universal_newlines'))
            missing = isinstance(text, ast.Constant) and text.value is True
        if missing and 'encoding' not in given and None not in given:
            yield node.lineno


@pytest.mark.parametrize(
    ('code', 'found'),
    [
        ("open('a')", True),
        ("open('a', 'w')", True),
        ("open('a', 'rb')", False),
        ("open('a', mode='xb')", False),
        ("open('a', encoding='utf-8')", False),
        ('path.open()', True),
        ('path.read_text()', True),
        ("path.read_text('utf-8')", False),
        ("path.write_text('x')", True),
        ("path.write_text('x', encoding='utf-8')", False),
        ("subprocess.run(['a'], text=True)", True),
        ("subprocess.run(['a'], text=True, encoding='utf-8')", False),
        ("Image.open('a')", False),
        ("lmdb.open('a', readonly=True)", False),
    ],
)
def test_what_is_found(code, found):
    assert bool(list(without_encoding(code))) == found


def test_every_encoding_is_given():
    found = [
        f'{path.relative_to(ROOT)}:{line}'
        for path in FILES
        for line in without_encoding(path.read_text(encoding='utf-8'))
    ]
    assert len(FILES) > 100 and found == []
