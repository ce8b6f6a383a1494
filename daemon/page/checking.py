"""Mistakes in `[page]` with which the page could not start."""

from __future__ import annotations

import errno
import socket
import ssl
from urllib.parse import urlsplit

from daemon.errors import SettingsError, StartError
from daemon.host.tcp import holder_of_port
from daemon.page.web.access import check_exposure, read_password
from daemon.settings.schema import Page


def check(settings: Page) -> str | None:
    """The password, None if there is none. Raises SettingsError."""
    password = read_password(settings.password_file) if settings.password_file else None
    check_exposure(settings.host, password is not None)
    if bool(settings.tls_cert) != bool(settings.tls_key):
        raise SettingsError(
            "--tls-cert and --tls-key go together (settings: `tls_cert`, `tls_key`)"
        )
    if settings.public_url and urlsplit(settings.public_url).scheme not in ("http", "https"):
        raise SettingsError(
            f"`public_url` is {settings.public_url!r}; an address in browsers begins with https:// "
            "or http://"
        )
    _check_certificate(settings)
    return password


def check_place(settings: Page, free: bool) -> None:
    """Raise StartError if the page could not listen at its address; uvicorn would only log why.

    With `free`, also if another program listens there now.
    """
    host, port = settings.host.strip("[]"), settings.port
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, place = found[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(place)
    except OSError as error:
        words = f"{error.strerror}"
        if error.errno == errno.EADDRINUSE:
            if not free:
                return
            words = f"it is in use by {holder_of_port(port)}"
        raise StartError(
            f"the page cannot listen at {host}:{port}: {words}; name another with --host and "
            "--port (settings: `host`, `port`)"
        ) from error


def _check_certificate(settings: Page) -> None:
    if not settings.tls_cert:
        return
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(
            settings.tls_cert, settings.tls_key
        )
    except ssl.SSLError as error:
        raise SettingsError(
            f"{settings.tls_cert} and {settings.tls_key} are not a certificate and key (PEM) that "
            f"belong together ({error.reason or error})"
        ) from error
    except OSError as error:
        raise SettingsError(
            f"the certificate {settings.tls_cert} (`tls_cert`) or its key {settings.tls_key} "
            f"(`tls_key`) cannot be read: {error.strerror}"
        ) from error
