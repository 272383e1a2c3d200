"""The packages keep the rules of their own house: short files and functions, one name a class."""

import ast
from collections import defaultdict

from conftest import ROOT
from test_imports import PACKAGES

FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob('*.py'))
TREES = {path: ast.parse(path.read_text('utf-8')) for path in FILES}
LONGEST_FILE, LONGEST_BODY, MOST_BRANCHES = 330, 60, 12
BRANCHES = ast.If | ast.For | ast.While | ast.ExceptHandler


def long_files(texts: dict[str, str]) -> list[str]:
    lengths = {name: len(text.splitlines()) for name, text in texts.items()}
    return [f'{name}: {n} lines' for name, n in lengths.items() if n > LONGEST_FILE]


def large_functions(tree: ast.AST) -> list[str]:
    """Functions with a body of more lines, or more branches, than one reads at a glance."""
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef):
            continue
        body = node.body[1:] if ast.get_docstring(node) and node.body[1:] else node.body
        lines = body[-1].end_lineno - body[0].lineno + 1
        branches = sum(isinstance(inner, BRANCHES) for inner in ast.walk(node))
        if lines > LONGEST_BODY or branches > MOST_BRANCHES:
            found.append(f'{node.name}: {lines} lines, {branches} branches')
    return found


def classes_of_one_name(trees) -> list[str]:
    places = defaultdict(list)
    for name, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(name)
    return [f'{name}: {where}' for name, where in places.items() if len(where) > 1]


def test_files_are_one_sittings_read():
    assert long_files({str(path): path.read_text('utf-8') for path in FILES}) == []


def test_functions_fit_a_screen():
    assert [(str(path), found) for path in FILES if (found := large_functions(TREES[path]))] == []


def test_no_two_classes_have_one_name():
    assert classes_of_one_name({str(path): tree for path, tree in TREES.items()}) == []


def test_what_breaks_a_rule_is_found():
    assert long_files({'a.py': 331 * '\n', 'b.py': ''}) == ['a.py: 331 lines']
    long = ast.parse('def f():\n    "Say."\n' + 61 * '    x = 1\n')
    branching = ast.parse('def g():\n' + 13 * '    if x: pass\n')
    assert large_functions(long) == ['f: 61 lines, 0 branches']
    assert large_functions(branching) == ['g: 13 lines, 13 branches']
    assert classes_of_one_name({'a': ast.parse('class A: pass'), 'b': ast.parse('class A: pass')})
