"""Services that notifications go to. The home of Apprise."""

from __future__ import annotations

import logging
import tempfile
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from daemon.errors import SettingsError
from daemon.settings.secret_files import SecretFile
from daemon.settings.subscribers import Notify

try:
    import apprise
except ImportError as missing:
    raise SettingsError(
        "notifications need the package apprise; run `pip install 'tinyast[notify]'`"
    ) from missing

from daemon.notify.bounded_answers import bound_answers

logging.getLogger("apprise").propagate = False  # the caller gets the reasons, and logs them


@dataclass(frozen=True)
class Attachment:
    """A file to send along."""

    name: str
    content: bytes


class _Reasons(logging.Handler):
    """Collects why Apprise could not deliver."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._thread = threading.get_ident()
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self._thread:  # other threads deliver elsewhere
            self.texts.append(record.getMessage())


class Service:
    """One URL of Apprise. Raises SettingsError if no service has such a URL."""

    def __init__(self, url: str, rule: str) -> None:
        bound_answers()
        asset = apprise.AppriseAsset()
        # With a time limit, Apprise 2 delivers in another thread, and reasons of failures are lost.
        asset._service_timeout = 0.0
        self._apprise = apprise.Apprise(asset=asset)
        if not self._apprise.add(url):
            scheme = url.partition("://")[0]
            raise SettingsError(
                f"notify `{rule}` has a URL that no service knows, beginning with {scheme[:20]!r}; "
                "https://github.com/caronc/apprise/wiki lists them"
            )
        (service,) = self._apprise
        # Without the query, which may hold secrets too.
        shown: object = service.url(privacy=True)  # type: ignore[no-untyped-call]
        self.name = str(shown).partition("?")[0]
        self.address = _address(service)
        self.takes_files = bool(getattr(service, "attachment_support", False))
        self._cuts = "overflow_mode" not in vars(service)  # `?overflow=` of the URL does otherwise
        self._most = int(service.body_maxlen)  # characters of a text
        # Services without a title get it before the text.
        self._most_title = min(int(service.title_maxlen) or self._most, self._most // 2)

    def send(self, title: str, text: str, attachments: Sequence[Attachment] = ()) -> str | None:
        """Deliver; None, or the reason if it was not possible. From any thread.

        Apprise's own way to cut what is too long would leave out the second attachment.
        """
        if self._cuts:
            title = title[: self._most_title]
            text = text[: self._most - len(title) - len("\r\n")]
        with ExitStack() as stack:
            files = None
            if self.takes_files and attachments:
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tinyast-")))
                files = apprise.AppriseAttachment()
                for each in attachments:
                    (folder / each.name).write_bytes(each.content)
                    files.add(str(folder / each.name))
            with_reasons = _Reasons()
            logger = logging.getLogger("apprise")
            logger.addHandler(with_reasons)
            stack.callback(logger.removeHandler, with_reasons)
            try:
                # Else a file called <img …> is a picture in a mail.
                as_text = apprise.NotifyFormat.TEXT
                done = self._apprise.notify(text, title, body_format=as_text, attach=files)
            except TypeError as error:  # Apprise: an empty message, or an address it cannot use
                return str(error)
        return None if done else "; ".join(with_reasons.texts) or "the service did not take it"


def _address(service: apprise.NotifyBase) -> tuple[str, int] | None:
    """Host and port of a service that a person runs; None for other services."""
    if service.protocol == "mailto":
        host = getattr(service, "smtp_host", None)
        usual = 587 if service.secure else 25
    elif service.protocol in ("json", "form", "xml"):
        host, usual = service.host, 443 if service.secure else 80
    else:
        return None
    return (str(host), int(service.port or usual)) if host else None


def services(settings: Notify, rule: str) -> list[Service]:
    """The services of a rule. Raises SettingsError, StartError."""
    urls = list(settings.urls)
    if settings.urls_file:
        urls += urls_file(settings, rule).read_lines()
    if not urls:
        raise SettingsError(f"notify `{rule}` has neither `urls` nor a `urls_file` that holds any")
    return [Service(url, rule) for url in urls]


def urls_file(settings: Notify, rule: str) -> SecretFile:
    """The file that `urls_file` of a rule names."""
    path = settings.urls_file
    return SecretFile(path, "urls_file", f"notify `{rule}`", "the URLs", refuse_open=False)
