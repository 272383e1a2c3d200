"""What is told about the files of a request, and what its report holds."""

import json
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest

from hmaca_arch.restoring import running
from hmaca_arch.restoring.folders import REFUSED, SKIPPED, Left
from hmaca_arch.restoring.mask_sources import MaskSource
from hmaca_arch.restoring.planning import Job, Plan, Request
from hmaca_arch.restoring.running import (
    attempt,
    check_report,
    counted,
    report_of,
    restore_files,
    summarize,
    tell_left,
    tell_quality,
)


def request(**options) -> Request:
    return Request([Path('in')], Path('out'), MaskSource(), **options)


def job(name: str = 'a', copied: bool = False) -> Job:
    return Job(Path(f'in/{name}.png'), Path('m.png'), Path(f'out/{name}.png'), copied)


def entry(status: str = 'done', verified: bool = True, **more) -> dict:
    common = {'output': 'out/a.png', 'regions': 2, 'seconds': 1.25, 'notes': []}
    return {'status': status, 'verified': verified, **common, **more}


def test_a_line_is_told_where_a_bar_stands_aside(monkeypatch):
    places, lines = [], []
    monkeypatch.setattr(
        running.tqdm, 'external_write_mode', lambda file: places.append(file) or nullcontext()
    )
    monkeypatch.setattr(running, 'say', lambda *given: lines.append(given))
    running.tell('a\x07b')
    assert places == [sys.stderr] and lines == [('basicsr restore: a\\x07b', sys.stderr)]


def test_numbers_with_nouns():
    assert [counted(number, 'tile') for number in (0, 1, 2)] == ['0 tiles', '1 tile', '2 tiles']


@pytest.mark.parametrize('skipped', [20, 22])
def test_what_is_refused_is_named_and_of_many_skipped_the_first(capsys, skipped):
    left = [Left(Path(f's{number}'), SKIPPED, 'why') for number in range(skipped)]
    tell_left([*left, *[Left(Path(f'r{number}'), REFUSED, 'bad') for number in range(30)]])
    lines = capsys.readouterr().err.splitlines()
    assert lines[:30] == [f'basicsr restore: error: r{number}: bad' for number in range(30)]
    assert lines[30:50] == [f'basicsr restore: skipped: s{number}: why' for number in range(20)]
    more = ['basicsr restore: skipped: 2 more; --json FILE lists all'] if skipped > 20 else []
    assert lines[50:] == more


def test_a_quality_that_no_output_takes(capsys):
    def told(outputs, quality):
        tell_quality(request(quality=quality), Plan(outputs, []))
        return capsys.readouterr().err.startswith('basicsr restore: note: --quality is of JPEG')

    lossy = job()._replace(output=Path('o.jpg'))
    assert told([job()], 80) and told([job(), lossy._replace(copied=True)], 80)
    assert not told([job()], None) and not told([job(), lossy], 80)
    assert not told([], 80) and not told([job(copied=True)], 80)


@pytest.mark.parametrize(
    ('entries', 'left', 'verify', 'said'),
    [
        ([entry()], 0, True, 'out/a.png: 2 regions, 1.2 s, verified'),
        ([entry(verified=False, regions=1)], 0, False, 'out/a.png: 1 region, 1.2 s'),
        ([entry(REFUSED)], 0, True, ''),
        ([entry()], 1, True, 'out: 1 done, 0 copied, 0 refused, 0 skipped, verified'),
        ([entry(), entry(REFUSED)], 0, False, 'out: 1 done, 0 copied, 1 refused, 0 skipped'),
        (
            [entry('copied'), entry(SKIPPED)],
            0,
            True,
            'out: 0 done, 1 copied, 0 refused, 1 skipped, verified',
        ),
        ([entry(REFUSED), entry(REFUSED)], 0, True, 'out: 0 done, 0 copied, 2 refused, 0 skipped'),
    ],
)
def test_the_last_line(capsys, entries, left, verify, said):
    jobs = [job(str(number)) for number in range(len(entries))]
    plan = Plan(jobs, [Left(Path('x'), SKIPPED, 'why')] * left)
    summarize(request(verify=verify), plan, entries)
    assert capsys.readouterr().out.splitlines() == ([said] if said else [])


def test_what_the_report_holds():
    entries = [entry(), entry(), entry('copied'), entry(REFUSED), entry(SKIPPED)]
    asked = request(degradation='blur:2', settings={'context': 3})
    plan = Plan([job()] * 4, [Left(Path('x'), SKIPPED, 'why')])
    assert report_of(asked, {'weights': 'w'}, entries, plan) == {
        'weights': 'w',
        'settings': {'context': 3, 'degradation': 'blur:2'},
        'asked': 5,
        'done': 2,
        'copied': 1,
        'refused': 1,
        'skipped': 1,
        'files': entries,
    }


def test_a_report_replaces_nothing_of_the_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path('folder').mkdir()
    Path('old.json').touch()
    plan, read = Plan([job(), job()._replace(mask=None)], []), [Path('w.pth')]

    def check(path, **options):
        check_report(request(report=Path(path), **options), plan, read)

    for path in ('in/a.png', 'm.png', 'out/../out/a.png', 'w.pth'):
        with pytest.raises(ValueError, match=f'^--json: {path} is an image, mask, output or che'):
            check(path, overwrite=True)
    with pytest.raises(ValueError, match='^--json: folder is a folder'):
        check('folder', overwrite=True)
    with pytest.raises(ValueError, match=r'^--json: old\.json exists; --overwrite replaces it'):
        check('old.json')
    with pytest.raises(FileNotFoundError, match=r'^--json: the folder .*none does not exist'):
        check('none/r.json')
    check('old.json', overwrite=True)
    check('folder/r.json')
    assert not list(Path('folder').iterdir())


def test_one_file_is_tried_and_its_notes_are_told(capsys, monkeypatch):
    monkeypatch.setattr(running, 'restore_file', lambda *given: entry(notes=['one', 'two', given]))
    found = attempt(job(), 'restorer', 'request', 'progress')
    assert found['notes'][2] == (job(), 'restorer', 'request', 'progress')
    lines = capsys.readouterr().err.splitlines()
    assert lines[:2] == [f'basicsr restore: note: in/a.png: {note}' for note in ('one', 'two')]


@pytest.mark.parametrize('kind', [OSError, ValueError, RuntimeError, MemoryError])
def test_what_is_wrong_with_one_file_is_told_and_does_not_end_the_others(capsys, monkeypatch, kind):
    def fails(*given):
        raise kind('in/a.png: ' + 'x ' * 300)

    monkeypatch.setattr(running, 'restore_file', fails)
    reason = ('x ' * 300)[: 500 - len('in/a.png: ')]
    assert attempt(job(), None, request(), None) == {
        'file': 'in/a.png',
        'status': REFUSED,
        'reason': reason,
    }
    assert capsys.readouterr().err == f'basicsr restore: error: in/a.png: {reason}\n'


def test_the_report_is_written_even_if_the_run_is_stopped(tmp_path, capsys, monkeypatch):
    left = Left(Path('x'), SKIPPED, 'why')
    monkeypatch.setattr(running, 'make_plan', lambda asked: Plan([job('a'), job('b')], [left]))
    restorer = SimpleNamespace(network=left, device='cpu')

    def restored(one, *given):
        if one.image.name == 'b.png' and stops:
            raise KeyboardInterrupt
        given[2](1, 2)
        return entry(status)

    monkeypatch.setattr(running, 'restore_file', restored)
    asked = request(report=tmp_path / 'r.json', overwrite=True)
    for status, code in (('done', 0), (REFUSED, 1)):
        stops = False
        assert restore_files(asked, lambda: restorer, {'fact': 1}) == code
        stops = True
        written = json.loads(asked.report.read_text())
        assert (written['fact'], written['network'], written['device']) == (1, 'Left', 'cpu')
        assert [one['status'] for one in written['files']] == [status, status, SKIPPED]
        assert written['files'][2] == {'file': 'x', 'status': SKIPPED, 'reason': 'why'}
        with pytest.raises(KeyboardInterrupt):
            restore_files(asked, lambda: restorer, {})
        written = json.loads(asked.report.read_text())
        assert [one['status'] for one in written['files']] == [status, SKIPPED]
    with pytest.raises(ValueError, match='exists'):
        restore_files(request(report=asked.report), lambda: restorer, {})
    with pytest.raises(ValueError, match='checkpoint'):
        restore_files(asked, lambda: restorer, {}, [asked.report])
