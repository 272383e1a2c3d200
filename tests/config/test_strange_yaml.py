"""Option files that a stranger wrote to break their reader: one line each, soon."""

import os
import re
import resource
import time

import pytest
from conftest import tiny_options
from input_checks import fate
from odd_inputs import places

import datasets_ext  # noqa: F401  (registers the data sets)
import losses_ext  # noqa: F401
from hmaca_arch.config import checks, yaml_files
from hmaca_arch.config.yaml_files import LARGEST_FILE, dump, parse, read_yaml

BOMB = '\n'.join(
    f'{chr(98 + i)}: &{chr(98 + i)} [{", ".join(["*" + chr(97 + i)] * 9)}]' for i in range(9)
)
MERGES = '\n'.join(
    f'{chr(98 + i)}: &{chr(98 + i)} {{<<: [{", ".join(["*" + chr(97 + i)] * 9)}]}}'
    for i in range(9)
)
STRANGE = {
    'num_gpu: !!timestamp 0': 'num_gpu (line 1)',
    'num_gpu: !!bool 0.3': 'num_gpu (line 1)',
    'name: !!bool kl': 'name (line 1)',
    'region: !!set [a, b]': 'region (line 1)',
    'region: !!set {a, b}': 'region (line 1)',
    'a: {path: !!float }': 'a:path (line 1)',
    'a: {path: !!float x}': 'a:path (line 1)',
    'network_g: !!map x': 'network_g (line 1)',
    'network_g: !!str [x]': 'network_g (line 1)',
    'network_g: !!binary x': 'network_g (line 1)',
    'network_g: !!python/object:os.system x': 'network_g (line 1)',
    'network_g: !mine x': 'network_g (line 1)',
    'a: [1, !!int x]': 'a (line 1)',
    'a: !!int': 'a (line 1)',
    'enlarge: 1' + 400 * '0': 'enlarge (line 1)',
    'enlarge: 1' + 5000 * '0': 'enlarge (line 1)',
    'enlarge: 0x' + 400 * 'f': 'enlarge (line 1)',
    '1: x': 'no text',
    '{a: {[b]: c}}': 'a (line 1): a key is a list',
    'a: &a [*a]': 'contains itself',
    'a: &a {b: {c: *a}}': 'contains itself',
    f'a: &a [x, x, x, x, x, x, x, x, x]\n{BOMB}': 'values, aliases resolved',
    f'a: &a {{x: 1}}\n{MERGES}': 'values, aliases resolved',
    'a: ' + 20000 * '[': 'nested too deeply',
    'a: ' + 50 * '[ {\n' + 50 * '}]': 'nested too deeply',
    'a: 1\na: 2': "key 'a' is given twice",
    'a: *b': 'not valid YAML',
    'a: 1\n---\nb: 1': 'not valid YAML',
    '# ' + LARGEST_FILE * 'x': 'expected at most',
    'a: {<<: 3}': 'not valid YAML',
    'a: "x\0"': 'not valid YAML',
    'a: \x1b': 'not valid YAML',
    'a: \ufffe': 'not valid YAML',
}


@pytest.mark.parametrize('text', STRANGE, ids=lambda text: re.sub(r'\W+', ' ', text[:30]))
def test_one_line_that_names_file_and_key(tmp_path, text):
    path = tmp_path / 'strange.yml'
    path.write_text(text)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    with pytest.raises(ValueError) as caught:
        read_yaml(path)
    message = str(caught.value)
    assert (
        str(path) in message
        and STRANGE[text] in message
        and '\n' not in message
        and len(message) < 400 + len(str(path))
    )
    assert time.process_time() - start < 5, 'processor time'
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024, 'KiB'


@pytest.mark.skipif(not hasattr(os, 'mkfifo'), reason='no pipes with names')
def test_what_is_no_file(tmp_path):
    os.mkfifo(tmp_path / 'pipe')
    for path, word in ((tmp_path / 'pipe', 'pipe or a device'), (tmp_path, 'folder')):
        with pytest.raises(ValueError, match=f'is a {word}, expected a file'):
            read_yaml(path)


def test_overrides_are_read_by_the_same_rules():
    for text in ('\0', '!!float', '!!map x', '!!bool 3', '1' + 400 * '0', '[', '{a: 1, a: 2}'):
        with pytest.raises(ValueError, match='^the value'):
            parse(text)
    assert parse('') is None and parse('=') == '=' and parse('2024-01-31') == '2024-01-31'


def test_sound_values(tmp_path):
    text = """
a: &a {x: 1, y: [1e-4, 3e5, !!float 1600, 0.5, 1., .inf, -2]}
b: {<<: *a, x: 2}
c: *a
d: [true, no, ~, null, '1e5', "1", 2020-01-02, 0x1F]
"""
    (tmp_path / 'o.yml').write_text(text)
    found = read_yaml(tmp_path / 'o.yml')
    numbers = [1e-4, 300000, 1600, 0.5, 1.0, float('inf'), -2]
    assert found['a'] == {'x': 1, 'y': numbers} == found['c'] and found['b'] == {
        'x': 2,
        'y': numbers,
    }
    assert [type(number) for number in found['a']['y']] == [
        float,
        int,
        int,
        float,
        float,
        float,
        int,
    ]
    assert found['d'] == [True, False, None, None, '1e5', '1', '2020-01-02', 31]
    (tmp_path / 'again.yml').write_text(dump(found))
    assert read_yaml(tmp_path / 'again.yml') == found


@pytest.mark.parametrize('value', [['a'], {'a': 1}], ids=['list', 'section'])
def test_a_list_or_a_section_in_any_place(tmp_path, value):
    """Neither can be looked up in a table, as a name can."""
    for *sections, key in places(tiny_options(tmp_path)):
        options = tiny_options(tmp_path)
        inside = options
        for section in sections:
            inside = inside[section]
        inside[key] = value
        fate(lambda options=options: checks.check(options))
    for phase in ('train', 'val'):
        options = tiny_options(tmp_path)
        options['datasets'][phase]['name'] = value
        with pytest.raises(ValueError, match=f'datasets:{phase}:name: got .*, expected a name'):
            checks.check(options)


AT = 'expected a text, a number, true, false, null, a list or a section'


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('[b]: c', ' (line 1): a key is a list or a section, expected a text'),
        ('x:\n  y:\n    [b]: c', 'x:y (line 3): a key is a list or a section, expected a text'),
        ('x:\n  1.5: c', "x (line 2): the key '1.5' is no text; put it in quotes"),
        ('x:\n  y: 1\n  z: !!set {a}', f"x:z (line 3): it is given as '!!set', {AT}"),
        ('x:\n- 1\n- !!omap [a: 1]', f"x (line 3): it is given as '!!omap', {AT}"),
        ('x:\n  y: !!binary abc', f"x:y (line 2): 'abc' is given as !!binary, {AT}"),
        ('x: !other abc', f"x (line 1): 'abc' is given as !!!other, {AT}"),
        ('x:\n  y: !!bool 3', "x:y (line 2): '3' is no bool that can be used"),
        ('x: 9223372036854775808', "x (line 1): '9223372036854775808' is no int that can be used"),
        ('x: -9223372036854775808', "x (line 1): '-9223372036854775808' is no int that can be used"),
        ('x: 1\ny:\n  z: 1\n  z: 2', "FILE: key 'z' is given twice in the section at line 3"),
        ('x:\n- y: &a [1, *a]', 'the section at line 2 contains itself'),
        (f'x:\n- [{"1, " * 17}]', 'the section at line 1 holds more than 20 values, aliases resolved'),
        ('x: [', 'is not valid YAML: while parsing'),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_key_and_line(tmp_path, monkeypatch, text, message):
    monkeypatch.setattr(yaml_files, 'MOST_VALUES', 20)
    path = tmp_path / 'o.yml'
    path.write_text(text)
    colon = '' if message.startswith('is ') else ':'
    with pytest.raises(ValueError) as caught:
        read_yaml(path)
    expected = f'option file {path}{colon} {message}'.replace('FILE', str(path))
    assert str(caught.value).startswith(expected) and '\n' not in str(caught.value)
    if 'not valid' not in message:
        assert str(caught.value) == expected
        with pytest.raises(ValueError) as caught:
            parse(text)
        start = 'the value ' if message.startswith('FILE') or message[0] != ' ' else 'the value'
        assert str(caught.value) == f'{start}{message.replace("FILE", "the value")}'


def test_files_of_just_the_largest_size_are_read(tmp_path):
    path = tmp_path / 'o.yml'
    path.write_text('a: 1 #'.ljust(LARGEST_FILE))
    assert read_yaml(path) == {'a': 1}
    path.write_text('a: 1 #'.ljust(LARGEST_FILE + 1))
    with pytest.raises(
        ValueError, match=f'^option file {path} has 65537 bytes, expected at most 65536$'
    ):
        read_yaml(path)
    assert parse('1 #'.ljust(LARGEST_FILE)) == 1
    with pytest.raises(
        ValueError, match='^the value has 65537 characters, expected at most 65536$'
    ):
        parse('1 #'.ljust(LARGEST_FILE + 1))
    for text in ('', '# nothing', '- a', 'a'):
        path.write_text(text)
        with pytest.raises(ValueError, match=f'^option file {path} holds no options$'):
            read_yaml(path)
    path.write_bytes(b'a: \xff')
    with pytest.raises(
        ValueError,
        match=f'^option file {path} is not UTF-8: byte 0xff at position 3; save it as UTF-8$',
    ):
        read_yaml(path)


def test_every_value_is_counted(monkeypatch):
    monkeypatch.setattr(yaml_files, 'MOST_VALUES', 7)
    assert parse('{a: [1, 2], b: 3}') == {'a': [1, 2], 'b': 3}  # with the section and its keys
    with pytest.raises(ValueError, match='line 1 holds more than 7 values'):
        parse('{a: [1, 2], b: [3]}')
    assert parse('[&a [1, 2], *a]') == [[1, 2], [1, 2]]
    with pytest.raises(ValueError, match='line 1 holds more than 7 values'):
        parse('[&a [1, 2], *a, 3]')


@pytest.mark.parametrize(
    ('text', 'value'),
    [
        ('9223372036854775807', 2**63 - 1), ('-9223372036854775807', 1 - 2**63), ('3e5', 300000), ('3E5', 300000), ('3.0', 3.0), ('3.e5', 300000),
        ('9.2e18', 9200000000000000000), ('9.3e18', 9.3e18), ('1e-4', 1e-4), ('15e-1', 1.5), ('!!float 1600', 1600), ('!!float 1600.', 1600.0),
        ('1_000', 1000), ('0x1F', 31), ('yes', True), ('!!str 1', '1'), ('~', None), ('2020-01-02', '2020-01-02'), ('{a: {b: [1, {}]}}', {'a': {'b': [1, {}]}}),
    ],
)  # fmt: skip
def test_a_value_and_its_type(text, value):
    assert parse(text) == value and type(parse(text)) is type(value)
