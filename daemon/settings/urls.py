"""URLs of network streams: which ones can be opened, and how to show one without its secrets."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, unquote, urlsplit

RAW = ("tcp", "udp")  # carry samples without a header
SCHEMES = ("rtsp", "rtsps", "http", "https", *RAW)
LEAST_SECRET = 4  # characters; a shorter word is too common to hide it in other texts

_URL = re.compile(r"[a-z][a-z0-9+.-]*://[^\s'\"]+", re.IGNORECASE)


def problem_with(url: str) -> str | None:
    """Why `url` cannot be opened, in words that do not hold its secrets; None if it can be."""
    if not url:
        return "is empty; name a stream, such as rtsp://camera.example/audio"
    if re.search(r"[\s\x00-\x20\x7f]", url):
        return "holds a space or a control character; write a space as %20"
    try:
        parts, port = urlsplit(url), urlsplit(url).port
    except ValueError:
        return "is not a URL; check its host and port"
    if parts.scheme not in SCHEMES:
        return f"must begin with one of {', '.join(f'{scheme}://' for scheme in SCHEMES)}"
    if not parts.hostname and parts.scheme != "udp":
        return f"names no host after {parts.scheme}://"
    if parts.scheme in RAW and not port:
        return f"names no port, which {parts.scheme}:// needs"
    if parts.scheme in RAW and "@" in parts.netloc:
        return f"holds a user or password, which {parts.scheme}:// does not support"
    return None


def scheme(url: str) -> str:
    return url.partition("://")[0].lower()


def without_secrets(url: str) -> str:
    """Scheme, host and port alone: cameras also hide passwords in the path and the query."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "…"
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""
    more = "/…" if parts.path.strip("/") or parts.query else ""
    return f"{parts.scheme}://{host}{port}{more}"


def scrubbed(text: str, url: str) -> str:
    """`text` of another program, without the secrets of `url` or of any other URL in it."""
    text = text.replace(url, without_secrets(url))
    text = _URL.sub(lambda found: without_secrets(found[0]), text)
    for secret in sorted(_secrets(urlsplit(url)), key=len, reverse=True):
        text = text.replace(secret, "…")
    return text


def _secrets(parts: SplitResult) -> set[str]:
    given = {parts.password or "", parts.username or "", parts.query, parts.path.strip("/")}
    given |= {unquote(each) for each in given}
    return {each for each in given if len(each) >= LEAST_SECRET}
