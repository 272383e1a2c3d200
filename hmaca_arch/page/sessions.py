"""Tell apart the browsers that open the page of `basicsr demo`, by a cookie."""

import hashlib
import hmac
import secrets

from hmaca_arch.page.guard import Scope


class Sessions:
    """Make and read the cookie of a session. Only this server can make one.

    Args:
        port: the port of the page. Two pages on one machine then have two cookies.
        root_path: the path under which a proxy serves the page.
    """

    def __init__(self, port: int, root_path: str = '') -> None:
        self.cookie, self.path = f'basicsr_demo_{port}', root_path or '/'
        self.secret = secrets.token_bytes(32)

    def new_cookie(self) -> str:
        """Return the value of a Set-Cookie header that starts a session."""
        session = secrets.token_hex(16)
        value = session + self._sign(session)
        return f'{self.cookie}={value}; Path={self.path}; HttpOnly; SameSite=Lax'

    def of(self, scope: Scope) -> str | None:
        """Return the session of a request, or None if it has none."""
        lines = [value for key, value in scope['headers'] if key.lower() == b'cookie']
        for cookie in b';'.join(lines).decode('latin-1').split(';'):
            name, _, value = cookie.strip().partition('=')
            signature = self._sign(value[:32]).encode()
            if name == self.cookie and hmac.compare_digest(
                value[32:].encode('utf-8', 'replace'), signature
            ):
                return value[:32]
        return None

    def _sign(self, session: str) -> str:
        given = session.encode('utf-8', 'replace')
        return hmac.new(self.secret, given, hashlib.sha256).hexdigest()[:32]
