"""log.jsonl: what is printed, as data; cut where a run goes on from."""

import json
import logging

from basicsr.utils.logger import initialized_logger
from conftest import make_triplets, tiny_options, write_options

import datasets_ext  # noqa: F401
import losses_ext  # noqa: F401
from hmaca_arch.commands.train import arguments
from hmaca_arch.training import log_lines
from hmaca_arch.training import pipeline as training

TIMES = ('time', 'data_time', 'seconds_left')


def run(folder, options, *more):
    initialized_logger.clear()  # BasicSR opens a log file only once a process
    logging.getLogger('basicsr').handlers.clear()
    training.run_pipeline(
        'train',
        arguments(['-opt', str(write_options(folder / 'o.yml', options)), *more]),
        str(folder),
    )
    text = (folder / 'experiments' / 'tiny' / 'log.jsonl').read_text(encoding='utf-8')
    return [
        {key: value for key, value in json.loads(line).items() if key not in TIMES}
        for line in text.splitlines()
    ]


def test_a_line_a_print_and_an_interrupted_run_has_the_lines_of_a_whole_one(tmp_path):
    make_triplets(tmp_path / 'data' / 'train', 4)
    make_triplets(tmp_path / 'data' / 'test', 1)
    lines = {}
    for name in ('whole', 'cut'):
        folder = tmp_path / name
        folder.mkdir()
        options = tiny_options(tmp_path / 'data')
        options['train']['total_iter'] = 4
        if name == 'whole':
            lines[name] = run(folder, options)
            continue
        options['train']['total_iter'] = 3
        run(folder, options)  # the newest state is that of iteration 2
        with open(folder / 'experiments' / 'tiny' / 'log.jsonl', 'a', encoding='utf-8') as file:
            file.write('{"iter": 4, "l_pi')
        options['train']['total_iter'] = 4
        lines[name] = run(folder, options, '--auto_resume')
    assert [line['iter'] for line in lines['whole']] == [1, 2, 3, 4]
    assert lines['whole'] == lines['cut'] and lines['whole'][0]['lr'] == [1e-3]
    assert {'l_pix', 'l_inside', 'l_outside', 'db_input', 'db_result', 'epoch'} <= lines['whole'][
        0
    ].keys()


def test_numbers_that_json_does_not_have(tmp_path):
    path = tmp_path / 'log.jsonl'
    log_lines.append(path, {'iter': 1, 'db_result': float('inf'), 'l_pix': 0.5})
    log_lines.append(path, {'iter': 2, 'l_pix': float('nan')})
    assert (
        path.read_text()
        == '{"iter": 1, "db_result": null, "l_pix": 0.5}\n{"iter": 2, "l_pix": null}\n'
    )
    log_lines.cut(path, 1)
    assert path.read_text() == '{"iter": 1, "db_result": null, "l_pix": 0.5}\n'
    log_lines.cut(path, 0)
    assert path.read_text() == ''
    log_lines.cut(tmp_path / 'none.jsonl', 0)
