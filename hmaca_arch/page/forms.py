"""Read the fields of a form, and write the headers of an answer."""

import json
import re
import urllib.parse

from starlette.datastructures import FormData, UploadFile

from hmaca_arch.degradation import Degradation
from hmaca_arch.page.jobs import Settings


def text_of(form: FormData, name: str, default: str) -> str:
    """Read a text field of a form."""
    value = form.get(name, default)
    return value.strip() if isinstance(value, str) and value.strip() else default


def number_of(form: FormData, name: str, default: int, most: int) -> int:
    """Read a whole number from 0 to `most` of a form.

    Raises:
        ValueError: it is none.
    """
    text = text_of(form, name, str(default))
    if not re.fullmatch('[0-9]{1,9}', text) or int(text) > most:
        raise ValueError(f'{name} is {text[:20]!r}; expected a whole number from 0 to {most}')
    return int(text)


async def file_of(form: FormData, name: str) -> tuple[bytes, str]:
    """Read a file of a form; returns its content and its name.

    Raises:
        ValueError: there is none.
    """
    file = form.get(name)
    if not isinstance(file, UploadFile):
        raise ValueError(f'the request has no file {name!r}; expected multipart/form-data with it')
    return await file.read(), file.filename or name


def settings_of(form: FormData) -> Settings:
    """Read how to restore.

    Raises:
        ValueError: a value that cannot work.
    """
    degradation = text_of(form, 'degradation', 'auto')
    if degradation != 'auto':
        try:
            Degradation.parse(degradation)
        except ValueError as error:
            raise ValueError(f'{error}; or auto') from None
    context, feather = (
        number_of(form, name, default, 512)
        for name, default in (('context', Settings.context), ('feather', Settings.feather))
    )
    return Settings(degradation, context, feather)


def attachment(name: str) -> dict[str, str]:
    """Return the header that names a download."""
    plain = re.sub(r'[^A-Za-z0-9._-]', '_', name)
    coded = urllib.parse.quote(name)
    return {'content-disposition': f'attachment; filename="{plain}"; filename*=UTF-8\'\'{coded}'}


def notes_header(notes: list[str]) -> dict[str, str]:
    """Return the header that carries notes beside a file: a JSON list."""
    return {'x-notes': json.dumps(notes)}
