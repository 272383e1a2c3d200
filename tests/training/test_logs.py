"""Logs that the disk refuses: one error that names the file, and no traceback beside it."""

import errno
import logging
import os
import signal

import pytest

from hmaca_arch.training import logs

resource = pytest.importorskip('resource')  # Windows has none


@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='needs /dev/full')
def test_a_line_that_a_full_disk_refuses_is_an_error(capfd):
    logger = logging.Logger('alone')
    logger.addHandler(logs.LogFile('/dev/full'))
    with pytest.raises(OSError) as caught:
        logger.info('a line')
    assert caught.value.errno == errno.ENOSPC and caught.value.filename == '/dev/full'
    logger.info('another')  # it is closed
    assert capfd.readouterr() == ('', '')


def test_other_errors_of_logging_stay_pythons_own(tmp_path, capfd):
    logger = logging.Logger('alone')
    handler = logs.LogFile(str(tmp_path / 'log'))
    logger.addHandler(handler)
    logger.info('%d', 'no number')
    logger.info('ü\udc80')
    handler.close()
    assert 'Logging error' in capfd.readouterr().err
    assert (tmp_path / 'log').read_bytes() == 'ü\\udc80\n'.encode()


@pytest.mark.parametrize('handler', [logs.Console, logs.LogFile])
def test_a_worker_that_ends_while_a_line_is_written(handler, tmp_path, monkeypatch, capfd):
    """torch's handler of SIGCHLD raises wherever the process is."""
    monkeypatch.setattr('basicsr.utils.logger.initialized_logger', {})
    logger = logs.root_logger(handler.__name__, log_file=str(tmp_path / 'log'))
    kinds = [type(each) for each in logger.handlers]
    assert sorted(kinds, key=str) == sorted([logs.Console, logs.LogFile], key=str)

    def killed(text):
        raise RuntimeError('DataLoader worker (pid 1) is killed by signal: Killed.')

    ours = logger.handlers[kinds.index(handler)]
    monkeypatch.setattr(ours, 'stream', type('Stream', (), {'write': staticmethod(killed)})())
    with pytest.raises(RuntimeError, match='worker'):
        logger.info('a line')
    logger.handlers.clear()
    assert 'Traceback' not in capfd.readouterr().err


def test_tensorboard_names_its_folder(tmp_path, capfd):
    """The system's own limit on a file's size ends its thread; the next call raises that error."""
    folder = str(tmp_path / 'tb')
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    assert signal.getsignal(signal.SIGXFSZ) == signal.SIG_IGN
    with logs.quiet_threads():
        writer = logs.start_tensorboard(folder)
        resource.setrlimit(resource.RLIMIT_FSIZE, (500, hard))
        try:
            with pytest.raises(OSError) as caught:
                for step in range(100):
                    writer.add_scalar('a', 1.0, step)
                writer.close()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.errno == errno.EFBIG and caught.value.filename == folder
    assert 'Traceback' not in capfd.readouterr().err
