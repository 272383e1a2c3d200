"""docs/options.md and options/schema.json: up to date, complete, and true."""

import ast
import importlib
import json
import re
import sys

import pytest
import yaml
from conftest import ROOT

from hmaca_arch.config import dataset_schema, schema
from hmaca_arch.config.yaml_files import Loader, parse

SECTIONS = {
    key: value
    for key, value in {**vars(schema), **vars(dataset_schema)}.items()
    if key.isupper()
    and isinstance(value, dict)
    and key not in ('DATASETS', 'REQUIRED', 'PROTOCOLS', 'DATA_FILE')
}
FILES = [
    ROOT / 'options' / 'train_hmaca_horse_pix.yml',
    *sorted((ROOT / 'options').glob('*/*.yml')),
]


@pytest.fixture(scope='module')
def script():
    """The script as a module; it imports those beside it."""
    sys.path.insert(0, str(ROOT / 'scripts'))
    yield importlib.import_module('options_reference')
    sys.path.remove(str(ROOT / 'scripts'))


def test_both_are_what_the_script_writes(script):
    for name, text in script.outputs().items():
        assert (ROOT / name).read_text(encoding='utf-8') == text, (
            f'{name} is stale: run scripts/options_reference.py'
        )


def test_every_setting_has_an_entry_with_its_meaning_and_an_example(script):
    page = ' '.join((ROOT / 'docs' / 'options.md').read_text(encoding='utf-8').split())
    settings = [
        (key, kind)
        for section in SECTIONS.values()
        for key, kind in section.items()
        if key not in ('phase', 'scale')
    ]
    for name in dataset_schema.DATASETS:
        settings += [
            (key, kind)
            for key, kind in script.data_set(name).items()
            if key not in ('phase', 'scale')
        ]
    for key, kind in settings:
        key = key.format('network_g' if 'pretrain' in key else 'g')
        assert kind.meaning and kind.example, key
        assert ' '.join(f'{kind.meaning} Example: `{key}: {kind.example}`'.split()) in page, key
    for name in ('HMANet', 'HMACA', 'Unfolded'):
        for key in script.network(name):
            assert f'- **`{key}`** (' in page


def test_examples_are_of_the_kind():
    for section in SECTIONS.values():
        for key, kind in section.items():
            if '...' not in kind.example:
                assert kind.accepts(parse(kind.example)), (key, kind.example)


def test_defaults_are_those_of_the_code():
    """Compare with the defaults in `.get(key, default)`, for keys of a single section."""
    keys = [key for section in SECTIONS.values() for key in section]
    stated = {
        key: kind.default
        for section in SECTIONS.values()
        for key, kind in section.items()
        if keys.count(key) == 1
    }
    stated |= {
        key: kind.default
        for known in dataset_schema.DATASETS.values()
        for key, kind in known.items()
        if kind.meaning and key not in keys
    }
    found = set()
    for path in [*(ROOT / 'hmaca_arch').rglob('*.py'), *(ROOT / 'datasets_ext').glob('*.py')]:
        for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
            reads = (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr == 'get'
                and len(node.args) == 2
            )
            if not reads or not all(isinstance(argument, ast.Constant) for argument in node.args):
                continue
            key, default = (argument.value for argument in node.args)
            if key in stated and re.fullmatch(r'[\w.-]+', stated[key]) and stated[key] != 'none':
                assert parse(stated[key]) == default, f'{path}: {key}'
                found.add(key)
    assert {
        'amp',
        'compile',
        'deterministic',
        'tb_images',
        'min_mask_ratio',
        'soft_mask',
        'unknown',
    } <= found


def mistakes(value, rule: dict, place: str = '') -> list[str]:
    """Return where a value breaks a JSON schema of the few keywords that the script uses."""
    found = []
    if 'type' in rule:
        kinds = {
            'object': dict,
            'array': list,
            'string': str,
            'null': type(None),
            'number': (int, float),
            'integer': int,
            'boolean': bool,
        }
        names = rule['type'] if isinstance(rule['type'], list) else [rule['type']]
        if not any(
            isinstance(value, kinds[name]) and (not isinstance(value, bool) or name == 'boolean')
            for name in names
        ):
            return [f'{place}: {value!r} is not {rule["type"]}']
    if 'enum' in rule and not any(
        value == known and type(value) is type(known) for known in rule['enum']
    ):
        found.append(f'{place}: {value!r} is none of {rule["enum"]}')
    if 'const' in rule and value != rule['const']:
        found.append(place)
    if 'anyOf' in rule and all(mistakes(value, part, place) for part in rule['anyOf']):
        found.append(f'{place}: {value!r} is nothing of {rule["anyOf"]}')
    for part in rule.get('allOf', ()):
        if not mistakes(value, part['if'], place):
            found += mistakes(value, part['then'], place)
    if isinstance(value, str):
        if not re.search(rule.get('pattern', ''), value) or not rule.get('minLength', 0) <= len(
            value
        ) <= rule.get('maxLength', 10**6):
            found.append(f'{place}: {value!r}')
    elif isinstance(value, int | float) and not rule.get('minimum', value) <= value <= rule.get(
        'maximum', value
    ):
        found.append(f'{place}: {value!r}')
    elif isinstance(value, list):
        if not rule.get('minItems', 0) <= len(value) <= rule.get('maxItems', 10**6):
            found.append(f'{place}: {len(value)} items')
        found += [line for item in value for line in mistakes(item, rule.get('items', {}), place)]
    elif isinstance(value, dict):
        found += [f'{place}: no {key}' for key in rule.get('required', ()) if key not in value]
        for key, item in value.items():
            rules = [rule['properties'][key]] if key in rule.get('properties', {}) else []
            rules += [
                part
                for pattern, part in rule.get('patternProperties', {}).items()
                if re.search(pattern, key)
            ]
            other = rule.get('additionalProperties', True)
            if not rules and other is False:
                found.append(f'{place}:{key}: there is no such key')
            for part in rules or ([other] if isinstance(other, dict) else []):
                found += mistakes(item, part, f'{place}:{key}')
    return found


@pytest.fixture(scope='module')
def rules():
    return json.loads((ROOT / 'options' / 'schema.json').read_text())


@pytest.mark.parametrize('path', [pytest.param(path, id=path.stem) for path in FILES])
def test_the_shipped_files_are_right_by_the_json_schema(path, rules):
    assert mistakes(yaml.load(path.read_text(), Loader=Loader), rules) == []


@pytest.mark.parametrize(
    'text',
    [
        'train: {totl_iter: 5}', 'train: {total_iter: 0}', 'train: {amp: fp8}', 'network_g: {type: HMACA, cross_attention: globl}',
        'nam: x', 'network_g: {type: HMANet, cross_attention: global}', 'name: a/b',
        'train: {pixel_opt: {type: AlphaMaskedL1Loss, outside: img}}',
        'datasets: {trian: {}}', 'datasets: {val_2: {type: MaskedPairedImageDataset, gt_sise: 4}}', 'path: {pretrain_network_g: 5}',
        'val: {metrics: {a: {type: calculate_composite_psnr, paste: lg}}}', 'logger: {keep_last: 0}', 'protocol: cleen', 'base: 5',
    ],
)  # fmt: skip
def test_mistakes_are_found_by_the_json_schema(text, rules):
    assert mistakes(yaml.load(text, Loader=Loader), rules)


def test_what_is_not_ours_passes(rules):
    assert not mistakes(
        {
            'network_g': {'type': 'SwinIR', 'x': 1},
            'train': {'pixel_opt': {'type': 'L1Loss', 'x': 1}},
        },
        rules,
    )
