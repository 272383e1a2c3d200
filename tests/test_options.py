import pytest
import yaml
from conftest import ROOT, tiny_options, write_options

import datasets_ext  # noqa: F401
import losses_ext  # noqa: F401
from hmaca_arch import options


def read(tmp_path, text):
    path = tmp_path / 'options.yml'
    path.write_text(text)
    return options.load(path)


@pytest.mark.parametrize(
    'text, value', [('1e-4', 1e-4), ('-1E+3', -1000.0), ('2.5e3', 2500.0), ('.5e1', 5.0), ('1e', '1e'), ('0.1', 0.1), ('7', 7)]
)
def test_numbers(tmp_path, text, value):
    assert read(tmp_path, f'lr: {text}') == {'lr': value}


def test_a_key_given_twice_is_an_error(tmp_path):
    with pytest.raises(ValueError, match='alpha.*twice'):
        read(tmp_path, 'loss:\n  alpha: 1\n  alpha: 0\n')


def test_inheritance_merges_sections_and_replaces_those_of_another_type(tmp_path):
    (tmp_path / 'base.yml').write_text('a: {type: X, p: 1, q: [1, 2]}\nb: {r: {s: 1, t: 2}}\nc: 1\n')
    merged = read(tmp_path, 'base: base.yml\na: {type: Y, u: 1}\nb: {r: {s: ~}}\n')
    assert merged == {'a': {'type': 'Y', 'u': 1}, 'b': {'r': {'s': None, 't': 2}}, 'c': 1}
    assert read(tmp_path, 'base: base.yml\na: {q: [3]}\n')['a'] == {'type': 'X', 'p': 1, 'q': [3]}


def test_inheritance_goes_one_level_deep(tmp_path):
    (tmp_path / 'deep.yml').write_text('a: 1')
    (tmp_path / 'base.yml').write_text('base: deep.yml')
    with pytest.raises(ValueError, match='one level'):
        read(tmp_path, 'base: base.yml')


def test_override_reads_yaml_and_changes_a_copy():
    given = {'train': {'optim_g': {'lr': 1.0}, 'amp': 'bf16'}}
    changed = options.override(given, ['train:optim_g:lr=1e-4', 'train:amp=false', 'train:note=a=b', 'name=x'])
    assert changed == {'train': {'optim_g': {'lr': 1e-4}, 'amp': False, 'note': 'a=b'}, 'name': 'x'}
    assert given == {'train': {'optim_g': {'lr': 1.0}, 'amp': 'bf16'}}


@pytest.mark.parametrize('entry', ['trian:total_iter=1', 'train', 'train:total_iter:x=1'])
def test_an_override_that_leads_nowhere_is_an_error(entry):
    with pytest.raises(ValueError, match='force_yml'):
        options.override({'train': {'total_iter': 5}}, [entry])


@pytest.mark.parametrize(
    'place, value, message',
    [
        (('network_g', 'type'), 'HMACAA', 'network_g:type.*HMACAA.*did you mean HMACA'),
        (('network_g', 'embed_dmi'), 96, 'embed_dmi.*did you mean embed_dim'),
        (('model_type',), 'MaskedRestoration', 'model_type.*did you mean MaskedRestorationModel'),
        (('datasets', 'train', 'type'), 'MaskedPairedDataset', 'datasets:train:type.*did you mean MaskedPairedImageDataset'),
        (('train', 'pixel_opt', 'type'), 'AlphaMaskedL1', 'train:pixel_opt:type.*did you mean AlphaMaskedL1Loss'),
        (('train', 'scheduler', 'type'), 'MultiStep', 'train:scheduler:type.*did you mean MultiStepLR'),
        (('val', 'metrics', 'masked_psnr', 'type'), 'calculate_mask_psnr', 'did you mean calculate_masked_psnr'),
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
        options.check_names(opt)


def test_parse_gives_what_the_pipelines_expect(tmp_path, triplets):
    path = write_options(tmp_path / 'o.yml', tiny_options(triplets))
    opt, _ = options.parse(str(tmp_path), True, ['-opt', str(path), '--force_yml', 'train:total_iter=9', '--local-rank=0'])
    assert opt['train']['total_iter'] == 9 and opt['is_train'] and not opt['dist'] and opt['world_size'] == 1
    assert opt['path']['models'] == str(tmp_path / 'experiments' / 'tiny' / 'models')
    assert opt['datasets']['train']['phase'] == 'train' and opt['datasets']['train']['seed'] == 0
    opt, _ = options.parse(str(tmp_path), False, ['-opt', str(path)])
    assert list(opt['datasets']) == ['val'] and opt['path']['log'] == str(tmp_path / 'results' / 'tiny')
    opt, _ = options.parse(str(tmp_path), True, ['-opt', str(path), '--debug'])
    assert opt['name'] == 'debug_tiny' and opt['val']['val_freq'] == 8
    assert not (tmp_path / 'experiments').exists()


def test_missing_things_are_named(tmp_path, triplets):
    good = tiny_options(triplets)

    def parse(changed, *more):
        return options.parse(str(tmp_path), True, ['-opt', str(write_options(tmp_path / 'o.yml', changed)), *more])

    with pytest.raises(FileNotFoundError, match=r'opt\.yml does not exist.*did you mean.*o\.yml'):
        parse(good) and options.parse(str(tmp_path), True, ['-opt', str(tmp_path / 'opt.yml')])
    for broken in ({'train': None}, {'network_g': 'HMACA'}, {'datasets': {'train': None}}, {'name': None}):
        with pytest.raises(ValueError, match=next(iter(broken))):
            parse({**good, **broken})
    with pytest.raises(FileNotFoundError, match='datasets:train:dataroot_lq: .*nowhere does not exist; to prepare it: run this'):
        train = {**good['datasets']['train'], 'dataroot_lq': 'nowhere', 'prepare': 'run this'}
        parse({**good, 'datasets': {**good['datasets'], 'train': train}})
    with pytest.raises(FileNotFoundError, match='path:pretrain_network_g.*gone.pth'):
        parse({**good, 'path': {'pretrain_network_g': 'gone.pth'}})
    with pytest.raises(ValueError, match='num_gpu.*99'):
        parse({**good, 'num_gpu': 99})
    (tmp_path / 'broken.yml').write_text('a: [1,\nb')
    with pytest.raises(ValueError, match='not valid YAML'):
        options.load(tmp_path / 'broken.yml')


FILES = sorted((ROOT / 'options').rglob('*.yml'))


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.stem)
def test_every_option_file_binds_to_what_it_configures(path):
    opt = options.load(path)
    options.check_names(opt)
    assert yaml.safe_dump(opt)  # what is saved beside the results
    header = path.read_text().split('\n\n')[0]
    assert f'-opt {path.relative_to(ROOT)}' in header, 'the header gives the command that runs the file'
