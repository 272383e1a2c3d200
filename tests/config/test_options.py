import argparse
import shutil

import pytest
import torch
from basicsr.archs import build_network
from conftest import tiny_options, write_options

import datasets_ext  # noqa: F401
import losses_ext  # noqa: F401
from hmaca_arch.commands.train import arguments
from hmaca_arch.config import checks as option_checks
from hmaca_arch.config import files as options
from hmaca_arch.config import overrides, reading
from hmaca_arch.config.paths import expand_paths
from hmaca_arch.config.yaml_files import dump
from hmaca_arch.messages import OptionError
from hmaca_arch.training import starting


def parse_options(root: str, is_train: bool, argv: list[str]) -> tuple:
    return starting.parse(root, is_train, arguments(argv))


def trained(tmp_path):
    """The file that a run named `tiny` would leave."""
    path = tmp_path / 'experiments' / 'tiny' / 'models' / 'net_g_latest.pth'
    path.parent.mkdir(parents=True)
    torch.save({'params': build_network(tiny_options(tmp_path)['network_g']).state_dict()}, path)
    return path


def read(tmp_path, text):
    path = tmp_path / 'options.yml'
    path.write_text(text)
    return options.load(path)


@pytest.mark.parametrize(
    'text, value',
    [
        ('1e-4', 1e-4),
        ('-1E+3', -1000.0),
        ('2.5e3', 2500.0),
        ('.5e1', 5.0),
        ('1e', '1e'),
        ('0.1', 0.1),
        ('7', 7),
    ],
)
def test_numbers(tmp_path, text, value):
    assert read(tmp_path, f'lr: {text}') == {'lr': value}


def test_a_key_given_twice_is_an_error(tmp_path):
    with pytest.raises(ValueError, match='alpha.*twice'):
        read(tmp_path, 'loss:\n  alpha: 1\n  alpha: 0\n')


def test_inheritance_merges_sections_and_replaces_those_of_another_type(tmp_path):
    (tmp_path / 'base.yml').write_text(
        'a: {type: X, p: 1, q: [1, 2]}\nb: {r: {s: 1, t: 2}}\nc: 1\n'
    )
    merged = read(tmp_path, 'base: base.yml\na: {type: Y, u: 1}\nb: {r: {s: ~}}\n')
    assert merged == {'a': {'type': 'Y', 'u': 1}, 'b': {'r': {'s': None, 't': 2}}, 'c': 1}
    assert read(tmp_path, 'base: base.yml\na: {q: [3]}\n')['a'] == {'type': 'X', 'p': 1, 'q': [3]}


def test_a_base_may_have_a_base_and_none_is_its_own(tmp_path):
    (tmp_path / 'deep.yml').write_text('a: 1\nb: 1\nc: 1')
    (tmp_path / 'base.yml').write_text('base: deep.yml\na: 2\nb: 2')
    assert read(tmp_path, 'base: base.yml\na: 3') == {'a': 3, 'b': 2, 'c': 1}
    (tmp_path / 'deep.yml').write_text('base: base.yml')
    with pytest.raises(ValueError, match=r'base.yml: is a base of itself, by way of .*deep.yml'):
        read(tmp_path, 'base: base.yml')
    with pytest.raises(
        FileNotFoundError, match=r'bace.yml does not exist \(did you mean .*base.yml'
    ):
        read(tmp_path, 'base: bace.yml')


def test_a_section_without_a_type_takes_the_one_on_top():
    assert reading.merge({'a': {'p': 1}}, {'a': {'type': 'X'}}) == {'a': {'p': 1, 'type': 'X'}}
    assert reading.merge({'a': {'p': 1, 'type': 'Y'}}, {'a': {'type': 'X'}}) == {'a': {'type': 'X'}}


DATA = """
datasets: {train: {dataroot_gt: 'd/{data}/{protocol}'}, val: {name: '{data}_val'}}
val: {metrics: {m: {paste: '{paste}'}}}
"""


def test_data_lie_between_the_bases_and_the_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'mine.yml').write_text(DATA)
    (tmp_path / 'other.yml').write_text('datasets: {train: {dataroot_gt: o}}')
    (tmp_path / 'base.yml').write_text(
        'datasets: {train: {dataroot_gt: b, gt_size: 8}}\ndata: horse_pix'
    )
    text = 'base: base.yml\nname: x_{data}\ndata: mine.yml\nprotocol: clean\ndatasets: {val: {type: T}}'
    assert read(tmp_path, text) == {
        'name': 'x_mine', 'protocol': 'clean',
        'datasets': {'train': {'dataroot_gt': 'd/mine/clean', 'gt_size': 8}, 'val': {'name': 'mine_val', 'type': 'T'}},
        'val': {'metrics': {'m': {'paste': 'lq'}}},
    }  # fmt: skip
    forced = options.load('options.yml', ['data=other.yml', 'datasets:train:gt_size=4'])
    assert forced['name'] == 'x_other' and forced['datasets']['train'] == {
        'dataroot_gt': 'o',
        'gt_size': 4,
    }
    above = read(tmp_path, f'{text.replace("val: {type: T}", "train: {dataroot_gt: own}")}')
    assert above['datasets']['train'] == {'dataroot_gt': 'own', 'gt_size': 8}, (
        'what a file says itself wins'
    )
    from_base = read(tmp_path, 'base: base.yml\nname: x_{data}\nprotocol: clean')
    assert (
        from_base['name'] == 'x_horse_pix'
        and from_base['datasets']['train']['dataroot_gt'] == 'datasets/clean/horse_pix/train/gt'
    )
    assert 'data' not in from_base and 'data' not in read(tmp_path, 'base: base.yml\ndata: ~')


@pytest.mark.parametrize(
    'text, force, message',
    [
        ('data: hose_pix', [], "data: there is no 'hose_pix' .did you mean horse_pix"),
        (
            'data: horse_pix',
            ['data=imagenet'],
            "data: there is no 'imagenet' .did you mean imagenet_",
        ),
        ('data: [horse_pix]', [], r'data: got \[.*expected the name of a data set'),
        ('data: gone.yml', [], r'data: gone.yml does not exist \(did you mean gon.yml'),
        ('data: gon.yml', [], 'data file gon.yml: train: there is no such section'),
        (
            'a: 1',
            ['data=horse_pix'],
            'data: options.yml has data of its own and no key `data` to change',
        ),
        ('data: ~', ['data=horse_pix'], 'has data of its own'),
        ('name: x_{data}', [], r'name: x_\{data\} stands for the name of a data set'),
        ('data: horse_pix', [], 'protocol: there is no None'),
    ],
)
def test_mistakes_about_data_are_one_line(tmp_path, monkeypatch, text, force, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'gon.yml').write_text('train: {}')
    (tmp_path / 'options.yml').write_text(text)
    with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
        options.load('options.yml', force)
    assert '\n' not in str(caught.value)


def test_shipped_files_are_found_by_name_and_a_path_wins(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert options.load('train_SwinIR_light')['network_g']['type'] == 'SwinIR'
    assert options.load('train_hmaca_horse_pix.yml')['name'] == 'train_HMACA1_horse_pix'
    assert read(tmp_path, 'base: train_SwinIR_light\nname: mine')['name'] == 'mine'
    (tmp_path / 'train_SwinIR_light').write_text('a: 1')
    assert options.load('train_SwinIR_light') == {'a': 1}
    with pytest.raises(
        FileNotFoundError, match='option file train_HMAC1 does not exist .did you mean train_HMACA1'
    ):
        options.load('train_HMAC1')
    with pytest.raises(
        FileNotFoundError, match='option file no/train_SwinIR_light.yml does not exist'
    ):
        options.load('no/train_SwinIR_light.yml')


def test_several_bases_are_merged_in_order(tmp_path):
    (tmp_path / 'one.yml').write_text('a: {p: 1, q: 1}\nb: 1\nc: 1')
    (tmp_path / 'two.yml').write_text('a: {q: 2, r: 2}\nb: 2')
    assert read(tmp_path, 'base: [one.yml, two.yml]\nb: 3') == {
        'a': {'p': 1, 'q': 2, 'r': 2},
        'b': 3,
        'c': 1,
    }
    assert read(tmp_path, 'base: [two.yml, one.yml]')['a'] == {'q': 1, 'r': 2, 'p': 1}


def test_the_protocol_fills_paths_and_what_the_metric_pastes():
    given = {'protocol': 'release', 'a': {'b': ['x/{protocol}/y', 1], 'paste': '{paste}'}}
    assert reading.fill_protocol(given)['a'] == {'b': ['x/release/y', 1], 'paste': 'gt'}
    assert reading.fill_protocol({**given, 'protocol': 'clean'})['a'] == {
        'b': ['x/clean/y', 1],
        'paste': 'lq',
    }
    assert given['a']['paste'] == '{paste}'
    assert reading.fill_protocol({'a': '{protocol}'}) == {'a': '{protocol}'}, (
        'without a protocol nothing is meant'
    )
    with pytest.raises(ValueError, match='protocol: there is no None'):
        reading.fill_protocol({'datasets': {'train': {'dataroot_gt': '{protocol}/gt'}}})
    with pytest.raises(ValueError, match="protocol: there is no 'cleen'.*did you mean clean"):
        reading.fill_protocol({'protocol': 'cleen'})


def test_a_trainings_own_file_tests_what_it_trained(tmp_path, triplets):
    opt = tiny_options(triplets)
    opt['val'].pop('save_img')
    path = write_options(tmp_path / 'o.yml', opt)
    with pytest.raises(
        OptionError,
        match=r'path:pretrain_network_g: .*tiny/models/net_g_latest\.pth does not exist',
    ):
        parse_options(str(tmp_path), False, ['-opt', str(path)])
    weights = trained(tmp_path)
    parsed, _ = parse_options(str(tmp_path), False, ['-opt', str(path)])
    assert (
        parsed['path']['pretrain_network_g'] == str(weights)
        and parsed['path']['param_key_g'] == 'params_ema'
    )
    assert parsed['val']['save_img'] is True
    parsed, _ = parse_options(str(tmp_path), True, ['-opt', str(path)])
    assert parsed['path']['pretrain_network_g'] is None and parsed['val']['save_img'] is False
    named = str(tmp_path / 'named.pth')
    shutil.copy(weights, named)
    given = ['-opt', str(path), '--force_yml', f'path:pretrain_network_g={named}']
    with pytest.raises(
        ValueError,
        match=r'names .*named.pth, and this training has made .*net_g_latest.pth: to test what it trained',
    ):
        parse_options(
            str(tmp_path), False, given
        )  # as it was trained, from those weights: which of them is meant?
    parsed, _ = parse_options(str(tmp_path), False, [*given, 'name=other'])
    assert parsed['path']['pretrain_network_g'] == named and 'param_key_g' not in parsed['path']
    parsed, _ = parse_options(str(tmp_path), False, [*given, 'path:pretrain_network_g=~'])
    assert parsed['path']['pretrain_network_g'] == str(weights)


def test_override_reads_yaml_and_changes_a_copy():
    given = {'train': {'optim_g': {'lr': 1.0}, 'amp': 'bf16'}}
    changed = overrides.override(
        given, ['train:optim_g:lr=1e-4', 'train:amp=false', 'train:note=a=b', 'name=x']
    )
    assert changed == {'train': {'optim_g': {'lr': 1e-4}, 'amp': False, 'note': 'a=b'}, 'name': 'x'}
    assert given == {'train': {'optim_g': {'lr': 1.0}, 'amp': 'bf16'}}


def test_overrides_may_come_in_several_places_and_all_mistakes_are_told(tmp_path, triplets):
    path = write_options(tmp_path / 'o.yml', tiny_options(triplets))
    given = [
        '-opt',
        str(path),
        '--force_yml',
        'name=mine',
        '--force_yml',
        'train:total_iter=3',
        'train:ema_decay=0.5',
    ]
    opt, _ = parse_options(str(tmp_path), True, given)
    assert (opt['name'], opt['train']['total_iter'], opt['train']['ema_decay']) == ('mine', 3, 0.5)
    with pytest.raises(OptionError) as caught:
        overrides.override({'train': {}}, ['trian:total_iter=1', 'train', 'train:x=1'])
    assert [line.split(':')[0] for line in caught.value.lines] == [
        "--force_yml 'trian",
        "--force_yml 'train'",
    ]


@pytest.mark.parametrize(
    ('entry', 'reason'),
    [
        ('name', 'expected section:key=value, for example train:total_iter=100'),
        ('=1', 'expected section:key=value, for example train:total_iter=100'),
        ('train:=1', 'expected section:key=value, for example train:total_iter=100'),
        ('trian:a=1', "there is no section 'trian' (did you mean train? known: name, train)"),
        ('name:a=1', "there is no section 'name' (did you mean name? known: name, train)"),
        ('train:optim:lr=1', "there is no section 'optim' (did you mean optim_g? known: optim_g)"),
        ('train:a=[', 'the value is not valid YAML: while parsing'),
    ],
)
def test_an_override_says_why_it_cannot_be_applied(entry, reason):
    given = {'name': 'n', 'train': {'optim_g': {}}}
    with pytest.raises(OptionError) as caught:
        overrides.override(given, [entry, 'name=x'])
    (line,) = caught.value.lines
    assert line.startswith(f'--force_yml {entry!r}: {reason}')
    assert overrides.override(given, [' train:optim_g:lr =a=b'])['train']['optim_g'] == {
        'lr': 'a=b'
    }


def test_the_argument_for_overrides():
    parser = argparse.ArgumentParser()
    overrides.add_overrides(parser)
    assert parser.parse_args([]).force_yml == []
    given = ['--force_yml', 'a=1', 'b=2', '--force_yml', 'c=3']
    assert parser.parse_args(given).force_yml == ['a=1', 'b=2', 'c=3']
    assert (
        '--force_yml SECTION:KEY=VALUE' in parser.format_help()
        and 'change options' in parser.format_help()
    )
    assert overrides.places({'a': {'b': {'c': 1}}, 'd': [{'e': 1}]}) == {'a', 'a:b', 'a:b:c', 'd'}


def test_the_network_of_a_file(tmp_path):
    section = tiny_options(tmp_path)['network_g']
    write_options(tmp_path / 'o.yml', {'network_g': section, 'name': 5})
    assert options.read_network(tmp_path / 'o.yml') == {'network_g': section}
    write_options(tmp_path / 'o.yml', {'network_g': {**section, 'embed_dim': 50}})
    with pytest.raises(OptionError, match='^network_g: HMACA: embed_dim is 50'):
        options.read_network(tmp_path / 'o.yml')
    for other in ({}, {'network_g': 'HMACA'}):
        write_options(tmp_path / 'o.yml', {'a': 1, **other})
        with pytest.raises(ValueError, match=r'o\.yml: the option file has no section network_g$'):
            options.read_network(tmp_path / 'o.yml')


def test_a_wrong_protocol_is_told_with_the_other_mistakes(tmp_path, triplets):
    opt = {**tiny_options(triplets), 'protocol': 'relase', 'nmae': '{protocol}'}
    path = write_options(tmp_path / 'o.yml', opt)
    with pytest.raises(OptionError) as caught:
        options.resolve(path)
    assert [line.split(' (')[0] for line in caught.value.lines] == [
        "protocol: got 'relase', expected release or clean",
        'nmae: there is no such setting',
    ]
    with pytest.raises(
        OptionError, match=r'^nmae: [^\n]*\nval: got None'
    ):  # of a test, though it trains
        options.resolve(path, ['protocol=clean', 'val=~'], is_train=False)
    with pytest.raises(OptionError, match='^nmae: [^\n]*$'):
        options.resolve(path, ['protocol=clean', 'val=~'])
    (tmp_path / 'o.yml').write_text('a: &a {b: *a}')
    with pytest.raises(ValueError, match=rf'^option file {path}: .*contains itself'):
        options.resolve(path)


def test_a_key_that_is_called_data_elsewhere_is_an_override(tmp_path):
    (tmp_path / 'o.yml').write_text(
        'a: {data: 1}\ndata: horse_pix\nname: x_{data}\nprotocol: clean'
    )
    found = options.load(tmp_path / 'o.yml', [' data = imagenet_blur', 'a:data=2'])
    assert found['name'] == 'x_imagenet_blur' and found['a'] == {'data': 2}
    with pytest.raises(OptionError, match="^--force_yml 'data': expected section:key=value"):
        options.load(tmp_path / 'o.yml', ['data'])


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('base: {a: 1}', "FILE: base: got {'a': 1}, expected an option file or a list of them"),
        ('base: [1]', 'FILE: base: got [1], expected an option file or a list of them'),
        ('base: o.yml', 'FILE: is a base of itself, by way of FILE'),
        ('name: "x_{data}"', 'FILE: name: x_{data} stands for the name of a data set, and the file has no key `data`'),
        ('data: 3', 'data: got 3, expected the name of a data set (horse_blur, horse_noise, '),
        ('data: mine.yml', 'data file mine.yml: vla: there is no such section (did you mean val? known: datasets, val)'),
        ('data: horse_pixx', "data: there is no 'horse_pixx' (did you mean horse_pix? known: "),
        ('data: gone.yaml', 'data: gone.yaml does not exist (did you mean '),
        ('data: no/where.yml', 'data: no/where.yml does not exist'),
        ('protocol: [a]', "protocol: there is no ['a'] ("),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_files_parts(tmp_path, monkeypatch, text, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'mine.yml').write_text('vla: {}')
    (tmp_path / 'gon.yml').write_text('val: {}')
    (tmp_path / 'o.yml').write_text(text)
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        options.load(tmp_path / 'o.yml')
    found, start = str(caught.value), message.replace('FILE', str(tmp_path / 'o.yml'))
    assert found == start or (start[-1] in ' (' and found.startswith(start))


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        (
            'train_HMAC1',
            'option file train_HMAC1 does not exist (did you mean train_HMACA1? known: ',
        ),
        ('o.yaml', 'option file o.yaml does not exist (did you mean o.yml?)'),
        ('no/o.yml', 'option file no/o.yml does not exist'),
        ('~no one/o.yml', 'option file ~no one/o.yml does not exist'),
        ('sub/oo.yml', 'option file sub/oo.yml does not exist (did you mean ooo.yml?)'),
        ('zzz', 'option file zzz does not exist ('),
        ('sub', 'option file sub does not exist ('),
    ],
)
def test_a_file_that_is_not_there(tmp_path, monkeypatch, name, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'sub').mkdir()
    for file in ('o.yml', 'sub/ooo.yml'):
        (tmp_path / file).write_text('a: 1')
    with pytest.raises(FileNotFoundError) as caught:
        options.load(name)
    found = str(caught.value)
    assert found == message or (message[-1] in ' (' and found.startswith(message))


def test_what_is_printed_reads_back_as_the_same(tmp_path):
    given = {
        'a': ['1e5', '2e-3', '.5e1', 'true', '~', '012', 'text', 'ü'],
        'b': {'c': 1e-5, 'd': None, 'e': [True, 3, 1.5, '']},
    }
    (tmp_path / 'o.yml').write_text(dump(given), encoding='utf-8')
    assert options.load(tmp_path / 'o.yml') == given
    shared = ['é']
    assert dump({'b': shared, 'a': shared}) == 'b:\n- é\na:\n- é\n'


@pytest.mark.parametrize('entry', ['trian:total_iter=1', 'train', 'train:total_iter:x=1'])
def test_an_override_that_leads_nowhere_is_an_error(entry):
    with pytest.raises(ValueError, match='force_yml'):
        overrides.override({'train': {'total_iter': 5}}, [entry])


@pytest.mark.parametrize(
    'place, value, message',
    [
        (('network_g', 'type'), 'HMACAA', 'network_g:type.*HMACAA.*did you mean HMACA'),
        (('network_g', 'embed_dmi'), 96, 'embed_dmi.*did you mean embed_dim'),
        (('model_type',), 'MaskedRestoration', 'model_type.*did you mean MaskedRestorationModel'),
        (
            ('datasets', 'train', 'type'),
            'MaskedPairedDataset',
            'datasets:train:type.*did you mean MaskedPairedImageDataset',
        ),
        (
            ('train', 'pixel_opt', 'type'),
            'AlphaMaskedL1',
            'train:pixel_opt:type.*did you mean AlphaMaskedL1Loss',
        ),
        (
            ('train', 'pixel_opt', 'alpa'),
            0.1,
            'train:pixel_opt:alpa: AlphaMaskedL1Loss .*did you mean alpha. known: alpha, inside',
        ),
        (
            ('train', 'optim_g', 'weight_decya'),
            0.1,
            'train:optim_g:weight_decya: AdamW.*did you mean weight_decay',
        ),
        (('train', 'optim_g', 'type'), 'Adamm', 'train:optim_g:type.*did you mean Adam'),
        (
            ('train', 'scheduler', 'milestone'),
            [],
            'train:scheduler:milestone: MultiStepLR.*did you mean milestones',
        ),
        (('val', 'metrics', 'masked_psnr', 'pste'), 'gt', 'val:metrics:masked_psnr:pste'),
        (
            ('train', 'scheduler', 'type'),
            'MultiStep',
            'train:scheduler:type.*did you mean MultiStepLR',
        ),
        (
            ('val', 'metrics', 'masked_psnr', 'type'),
            'calculate_mask_psnr',
            'did you mean calculate_masked_psnr',
        ),
    ],
)
def test_misspelled_names_are_found_before_anything_is_built(tmp_path, place, value, message):
    opt = tiny_options(tmp_path)
    *sections, key = place
    target = opt
    for section in sections:
        target = target[section]
    target[key] = value
    with pytest.raises(ValueError, match=message):
        option_checks.check(opt)


@pytest.mark.parametrize(
    'place, value',
    [
        ('train:total_iter', 0), ('train:total_iter', float('inf')), ('train:total_iter', 1.5),
        ('train:total_iter', '300k'), ('train:total_iter', None), ('logger:print_freq', 0),
        ('logger:save_checkpoint_freq', None), ('val:val_freq', 0), ('datasets:train:batch_size_per_gpu', 0),
        ('datasets:train:num_worker_per_gpu', 'two'), ('train:scheduler', None), ('train:optim_g', 'AdamW'),
        ('val', '/root'), ('name', '../up'), ('datasets:val:name', 'a/b'), ('datasets:val:name', 'tiny_train'),
    ],
)  # fmt: skip
def test_values_that_no_pipeline_can_work_with_are_named(tmp_path, place, value):
    *sections, key = place.split(':')
    opt = tiny_options(tmp_path)
    target = opt
    for section in sections:
        target = target[section]
    target[key] = value
    with pytest.raises(ValueError, match='two are called' if value == 'tiny_train' else place):
        option_checks.check(opt)


def test_the_home_folder_may_be_written_short(tmp_path, triplets, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    opt = tiny_options(triplets)
    opt['datasets']['train'].update(
        dataroot_lq='~/lq', meta_info_file='~/names.txt', meta_info_files=['~/a']
    )
    section = expand_paths(opt)['datasets']['train']
    assert (section['dataroot_lq'], section['meta_info_file']) == (
        str(tmp_path / 'lq'),
        str(tmp_path / 'names.txt'),
    )
    assert section['meta_info_files'] == [str(tmp_path / 'a')], 'of a data set from elsewhere'


def test_a_schedule_ends_with_the_run(tmp_path):
    opt = tiny_options(tmp_path)
    opt['train']['scheduler'] = {
        'type': 'CosineAnnealingRestartLR',
        'periods': [4],
        'restart_weights': [1],
    }
    with pytest.raises(
        ValueError, match='periods: add up to 4 iterations, but train:total_iter is 5'
    ):
        option_checks.check(opt)


def test_validation_draws_do_not_depend_on_the_seed_of_the_run(tmp_path, triplets):
    opt, _ = parse_options(
        str(tmp_path),
        True,
        [
            '-opt',
            str(write_options(tmp_path / 'o.yml', {**tiny_options(triplets), 'manual_seed': 7})),
        ],
    )
    assert opt['datasets']['train']['seed'] == 7 and opt['datasets']['val']['seed'] == 0


def test_parse_gives_what_the_pipelines_expect(tmp_path, triplets):
    path = write_options(tmp_path / 'o.yml', tiny_options(triplets))
    opt, _ = parse_options(
        str(tmp_path),
        True,
        ['-opt', str(path), '--force_yml', 'train:total_iter=9', '--local-rank=0'],
    )
    assert (
        opt['train']['total_iter'] == 9
        and opt['is_train']
        and not opt['dist']
        and opt['world_size'] == 1
    )
    assert opt['path']['models'] == str(tmp_path / 'experiments' / 'tiny' / 'models')
    assert opt['datasets']['train']['phase'] == 'train' and opt['datasets']['train']['seed'] == 0
    trained(tmp_path)
    opt, _ = parse_options(str(tmp_path), False, ['-opt', str(path)])
    assert list(opt['datasets']) == ['val'] and opt['path']['log'] == str(
        tmp_path / 'results' / 'tiny'
    )
    opt, _ = parse_options(str(tmp_path), True, ['-opt', str(path), '--debug'])
    assert opt['name'] == 'debug_tiny' and opt['val']['val_freq'] == 8
    with pytest.raises(
        ValueError, match='debug_tiny/models/net_g_latest.pth does not exist'
    ):  # and not what `tiny` trained
        parse_options(str(tmp_path), False, ['-opt', str(path), '--debug'])
    assert [path.name for path in (tmp_path / 'experiments').rglob('*')] == [
        'tiny',
        'models',
        'net_g_latest.pth',
    ], 'nothing is written'


def test_missing_things_are_named(tmp_path, triplets):
    good = tiny_options(triplets)

    def parse(changed, *more):
        return parse_options(
            str(tmp_path), True, ['-opt', str(write_options(tmp_path / 'o.yml', changed)), *more]
        )

    with pytest.raises(FileNotFoundError, match=r'opt\.yml does not exist.*did you mean.*o\.yml'):
        parse(good) and parse_options(str(tmp_path), True, ['-opt', str(tmp_path / 'opt.yml')])
    for broken in (
        {'train': None},
        {'network_g': 'HMACA'},
        {'datasets': {'train': None}},
        {'name': None},
    ):
        with pytest.raises(ValueError, match=next(iter(broken))):
            parse({**good, **broken})
    with pytest.raises(
        OptionError,
        match='datasets:train:dataroot_lq: .*nowhere does not exist; to prepare it: run this',
    ):
        train = {**good['datasets']['train'], 'dataroot_lq': 'nowhere', 'prepare': 'run this'}
        parse({**good, 'datasets': {**good['datasets'], 'train': train}})
    with pytest.raises(OptionError, match='path:pretrain_network_g.*gone.pth'):
        parse({**good, 'path': {'pretrain_network_g': 'gone.pth'}})
    with pytest.raises(ValueError, match='num_gpu.*99'):
        parse({**good, 'num_gpu': 99})
    (tmp_path / 'broken.yml').write_text('a: [1,\nb')
    with pytest.raises(ValueError, match='not valid YAML'):
        options.load(tmp_path / 'broken.yml')
