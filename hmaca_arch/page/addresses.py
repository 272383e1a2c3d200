"""Addresses under which the page is served, and the options that name them."""

import base64
import ipaddress
import re
from collections.abc import Iterable

LOOPBACK = ('127.0.0.1', 'localhost', '[::1]')
ADDRESS = re.compile(r'(?P<name>\[[0-9a-f:.]+\]|[a-z0-9_-][a-z0-9._-]*)(:(?P<port>[0-9]{1,5}))?')


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches an address. No name but localhost counts."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == 'localhost'


def read_auth(text: str) -> bytes:
    """Turn USER:PASSWORD into what a browser sends for it.

    Raises:
        ValueError: one of them is missing. The message does not repeat them.
    """
    user, _, password = text.partition(':')
    if not user or not password:
        raise ValueError(
            '--auth (or HMACA_AUTH) is not USER:PASSWORD; expected a name, a colon and a password'
        )
    return base64.b64encode(text.encode())


def read_host(name: str) -> str:
    """Check the value of --allow-host.

    Raises:
        ValueError: it is not NAME or NAME:PORT.
    """
    if not ADDRESS.fullmatch(name.lower()):
        raise ValueError(
            f'--allow-host is {name!r}; expected a host name such as demo.example.org, or NAME:PORT'
        )
    return name.lower()


def read_root_path(path: str) -> str:
    """Check the value of --root-path, and return it without a slash at its end.

    Raises:
        ValueError: it is not a path such as /restore.
    """
    if not re.fullmatch(r'(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*/?', path):
        raise ValueError(f'--root-path is {path!r}; expected a path such as /restore')
    return path.rstrip('/')


def named_hosts(host: str, port: int, more: Iterable[str] = ()) -> set[str]:
    """List the values of the Host header that mean the page: NAME:PORT, or NAME for default ports.

    Args:
        host: the address where the page is served.
        port: its port.
        more: further names, with a port or without.
    """
    names = {f'[{host}]' if ':' in host else host.lower(), *more}
    if is_loopback(host) or host in ('0.0.0.0', '::'):
        names |= {*LOOPBACK}
    hosts = set()
    for name in names:
        given = ADDRESS.fullmatch(name)
        hosts.add(name if given and given['port'] else f'{name}:{port}')
    return {without_default_port(name) for name in hosts | {*more}}


def without_default_port(address: str) -> str:
    """Return NAME for NAME:80 and NAME:443, other addresses as they are."""
    return re.sub(r':(80|443)$', '', address)
