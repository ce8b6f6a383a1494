"""Who may look: passwords, sessions, tokens, host names, and the headers of every answer."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from daemon.errors import SettingsError
from daemon.host.tcp import is_loopback
from daemon.settings.secret_files import SecretFile

SESSION_S = 30 * 86_400.0
MOST_SESSIONS = 1_000
# OWASP Password Storage Cheat Sheet: scrypt with N = 2^17, r = 8, p = 1.
SCRYPT_N, SCRYPT_R, SCRYPT_P, SCRYPT_BYTES = 2**17, 8, 1, 256 << 20
SHORTEST_PASSWORD = 8
SLOW_S = (1.0, 60.0)  # to wait after failed sign-ins: the first pause and the longest
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data: blob:; media-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def read_password(file: str) -> str:
    """The password of the page. Raises SettingsError that says what to change, StartError."""
    password = SecretFile(file, "password_file", "[page]", "the password").read_line()
    if len(password) < SHORTEST_PASSWORD:
        raise SettingsError(
            f"the password in `password_file` {file} of [page] is short: use at least "
            f"{SHORTEST_PASSWORD} characters"
        )
    return password


def token_digest(token: str) -> bytes:
    """A token is 256 random bits, so a plain hash is enough."""
    return hashlib.sha256(token.encode()).digest()


def check_exposure(host: str, protected: bool) -> None:
    """Raise SettingsError for an address that others can reach, unless a password protects it."""
    if not protected and not is_loopback(host):
        raise SettingsError(
            f"other machines can reach {host}: give the page a password with --password-file "
            "(setting: `password_file`), or use 127.0.0.1"
        )


@dataclass
class Session:
    """A browser that is signed in."""

    expires: float  # time.monotonic()
    token: str = field(default_factory=lambda: secrets.token_urlsafe(24))  # for writes


class Gate:
    """Decides whether a request is allowed."""

    def __init__(self, password: str | None, hosts: set[str], place: str = "") -> None:
        """`place` names this page among those of one host, for which browsers share cookies."""
        self.cookie = f"tinyast_{hashlib.sha256(place.encode()).hexdigest()[:8]}"
        self._salt = secrets.token_bytes(16)
        self._hash = None if password is None else self._derive(password)
        self._hosts = hosts
        self._sessions: dict[str, Session] = {}
        self._open = Session(float("inf"))  # everybody's, without a password
        self._failures: dict[str, tuple[int, float]] = {}

    @property
    def protected(self) -> bool:
        return self._hash is not None

    def _derive(self, password: str) -> bytes:
        return hashlib.scrypt(
            password.encode(),
            salt=self._salt,
            n=SCRYPT_N,
            r=SCRYPT_R,
            p=SCRYPT_P,
            maxmem=SCRYPT_BYTES,
        )

    def knows_host(self, host: str) -> bool:
        """Whether a Host header names this page: a rebound DNS name does not."""
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:  # a bracket without its other half
            return False
        return is_loopback(name) or name in self._hosts

    def pause(self, address: str) -> float:
        """Seconds for which an address may not try to sign in."""
        _, until = self._failures.get(address, (0, 0.0))
        return max(0.0, until - time.monotonic())

    def sign_in(self, address: str, password: str) -> str | None:
        """The cookie of a new session, or None. Slow on purpose: call it in a thread."""
        if self._hash is None or not hmac.compare_digest(self._hash, self._derive(password)):
            count = self._failures.get(address, (0, 0.0))[0] + 1
            wait = min(SLOW_S[1], SLOW_S[0] * 2 ** (count - 1))
            if len(self._failures) > MOST_SESSIONS:
                self._failures.clear()
            self._failures[address] = count, time.monotonic() + wait
            return None
        self._failures.pop(address, None)
        self._forget_old()
        cookie = secrets.token_urlsafe(32)
        self._sessions[cookie] = Session(time.monotonic() + SESSION_S)
        return cookie

    def sign_out(self, cookie: str) -> None:
        self._sessions.pop(cookie, None)

    def _forget_old(self) -> None:
        now = time.monotonic()
        alive = {key: each for key, each in self._sessions.items() if each.expires > now}
        self._sessions = dict(list(alive.items())[-MOST_SESSIONS + 1 :])

    def session(self, cookie: str | None) -> Session | None:
        """The session of a request, None if it has to sign in."""
        if self._hash is None:
            return self._open
        found = self._sessions.get(cookie or "")
        return found if found is not None and found.expires > time.monotonic() else None
