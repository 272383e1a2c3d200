"""The command lines' parser: a mistake is one line that says what to do."""

import pytest
from conftest import basicsr

from hmaca_arch import cli


@pytest.mark.parametrize(
    ('arguments', 'says'),
    [
        (('restore', '-i', 'a', '-o', 'b', '--degredation', 'none'), 'did you mean --degradation?'),
        (('compare', '.', '--overwite'), 'did you mean --overwrite?'),
        (('check', '-opt', 'x', '--zzzzzz'), '--zzzzzz; see basicsr check --help'),
        (('train',), 'required: -opt; see basicsr train --help'),
        (('estimate', '-i', '', '-m', 'b'), 'argument -i/--input: the path is empty; see'),
        (('make-lmdb', 'a', '\x1b[31m'), r'arguments: \x1b[31m'),
    ],
)
def test_a_wrong_option_is_one_line_that_says_what_to_do(capsys, arguments, says):
    with pytest.raises(SystemExit) as end:
        cli.main([*arguments])
    out, err = capsys.readouterr()
    (line,) = err.splitlines()
    assert end.value.code == 2 and not out and says in line
    assert line.startswith(f'basicsr {arguments[0]}: error: ')


def test_a_long_value_is_cut(tmp_path):
    result = basicsr(tmp_path, 'demo', '--port', 'x' * 5000, check=False)
    assert result.returncode == 2 and 'xxx...xxx' in result.stdout and len(result.stdout) < 600
