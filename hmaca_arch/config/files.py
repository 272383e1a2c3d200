"""Option files: read, changed by the command line, and checked before anything is built."""

import os
from collections.abc import Iterable

from hmaca_arch.config.checks import check, check_network
from hmaca_arch.config.completing import is_training
from hmaca_arch.config.overrides import override, places
from hmaca_arch.config.paths import expand_paths
from hmaca_arch.config.reading import NOT_GIVEN, fill_protocol, read
from hmaca_arch.config.yaml_files import parse


def _read_changed(path: str | os.PathLike, force_yml: Iterable[str]) -> tuple[dict, set[str]]:
    """Return a file's options with overrides, and the keys added by overrides.

    The protocol is not filled in yet.
    """
    entries, data = [], NOT_GIVEN
    for entry in force_yml:
        key, equals, value = entry.partition('=')
        if key.strip() == 'data' and equals:
            data = parse(value)
        else:
            entries.append(entry)
    given = read(path, data)
    options = override(given, entries)
    return options, places(options) - places(given)


def load(path: str | os.PathLike, force_yml: Iterable[str] = ()) -> dict:
    """Load an option file with its bases, data set, overrides and protocol, without checking it.

    Args:
        path: a path or the name of a shipped file.
        force_yml: `section:key=value` entries.

    Raises:
        FileNotFoundError, ValueError: a file or an entry cannot be read.
    """
    options, _ = _read_changed(path, force_yml)
    return expand_paths(fill_protocol(options))


def resolve(
    path: str | os.PathLike, force_yml: Iterable[str] = (), is_train: bool | None = None
) -> dict:
    """Load an option file as `load` does and validate it. Independent of the machine.

    Args:
        path: a path or the name of a shipped file.
        force_yml: `section:key=value` entries.
        is_train: whether to require what a training needs, or what a test needs. None: as
            `is_training` says of the file.

    Raises:
        FileNotFoundError, ValueError: a file or an entry cannot be read.
        OptionError: with every mistake in the file.
    """
    try:
        options, created = _read_changed(path, force_yml)
        try:
            options = fill_protocol(options)
        except ValueError:  # the checks report it together with the other mistakes
            protocol = options.get('protocol')
            options = {**fill_protocol({**options, 'protocol': 'clean'}), 'protocol': protocol}
    except RecursionError:
        raise ValueError(f'option file {path}: a section contains itself') from None
    options = expand_paths(options)
    check(options, is_training(options) if is_train is None else is_train, created)
    return options


def read_network(path: str | os.PathLike) -> dict:
    """Return {'network_g': section} of an option file, checked, as `load_restorer` takes it.

    Raises:
        FileNotFoundError, ValueError: the file, or the section in it, is missing or wrong.
    """
    section = load(path).get('network_g')
    if not isinstance(section, dict):
        raise ValueError(f'{path}: the option file has no section network_g')
    check_network(section)
    return {'network_g': section}
