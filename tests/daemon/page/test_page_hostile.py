"""Hostile messages and hostile clients: texts and connections of strangers."""

from __future__ import annotations

import resource
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from datetime import UTC, datetime
from pathlib import Path

import httpx
import msgspec
import pytest
from pages import CHROMIUM, PageProcess
from running import stress
from sounds import write_wav
from test_page_store import heard

from daemon.page.store.schema import FILE
from daemon.page.store.writer import Store
from daemon.page.web.connection import MOST_CONNECTIONS
from daemon.protocol.messages import (
    Judgement,
    Model,
    Ranked,
    Source,
    Window,
    live_prediction,
    timestamp,
)

CODE = "<img src=x onerror=alert(1)>"
LABEL = f'{CODE}"\r\nSet-Cookie: a=b'
NOWHERE = "ipc:///nowhere/p"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageProcess]:
    """A page whose store holds code in every text that a daemon sends."""
    base = tmp_path_factory.mktemp("hostile")
    made = PageProcess(base, options=("--connect", f"{NOWHERE},ipc:///nowhere/r"))
    store = Store(made.store)
    number, *_ = store.daemon(NOWHERE)
    clip = write_wav(made.store / f"{CODE.replace('/', '')}.wav")
    at = timestamp(datetime.now(UTC).timestamp())
    judgement = Judgement(
        label=LABEL, score=0.9, threshold=0.75, decision="accepted", reason=None,
        top=(Ranked(LABEL, 0.9),), rms_dbfs=-20.0, model=Model(CODE, CODE, "0" * 64),
    )  # fmt: skip
    window = Window(0, 0.0, 5.0, 0.0, at, "capture")
    message = live_prediction(Source("mic", CODE), "run", 0, window, judgement, str(clip))
    store.add(number, [heard(1, message)])
    store.close()
    with closing(sqlite3.connect(made.store / FILE)) as db, db:
        now = round(1000 * datetime.now(UTC).timestamp())
        db.execute("UPDATE daemons SET node = ?", (CODE,))
        for table, row in (
            ("statuses", (1, b"1" * 16, number, now, CODE, CODE, CODE, CODE)),
            ("gaps", (b"1" * 16, 1, now, 1.0, CODE)),
            ("events", (CODE, 1, 1, now, now, 0.9, 2, None)),
        ):
            marks = ", ".join("?" * len(row))
            db.execute(f"INSERT INTO {table} VALUES ({marks})", row)
        db.execute("UPDATE files SET ended = ?, state = ?, error = ?", (now, CODE, CODE))
    made.start()
    yield made
    made.clean_up()


def test_code_in_any_text_is_shown_as_text(page: PageProcess) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    if not CHROMIUM.exists():
        pytest.skip("Chromium is not installed")
    problems: list[str] = []
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        tab = browser.new_page()
        # Midnight may have passed since the page was filled.
        tab.clock.set_fixed_time(page.get("predictions")[0]["at"] / 1000)
        tab.on("dialog", lambda dialog: problems.append(dialog.message))
        tab.on("pageerror", lambda error: problems.append(str(error)))
        for view in ("now", "day", "label", "review", "health"):
            tab.goto(f"{page.url}/#/{view}")
            tab.locator("main", has_text=CODE).wait_for()
            problems += [view] * tab.locator("img[src=x]").count()
        browser.close()
    assert problems == []


def test_a_label_adds_no_header(page: PageProcess) -> None:
    (row,) = page.get("predictions")
    assert row["label"] == LABEL
    answer = page.http.get(f"/api/v1/predictions/{row['number']}/sound.wav")
    assert answer.status_code == 200
    assert "set-cookie" not in answer.headers
    assert answer.headers["content-disposition"].count('"') == 2


def test_headers_that_a_client_bends(page: PageProcess) -> None:
    """It gets an answer that is no fault, or no answer; and the page still works."""
    for head in (
        b"GET /api/v1/daemons HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.example\r\n\r\n",
        b"GET /api/v1/daemons HTTP/1.1\r\nHost: 127.0.0.1\r\nX: a\rSet-Cookie: b\r\n\r\n",
        b"GET /api/v1/daemons HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET http://evil.example/api/v1/daemons HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET /api/v1/predictions?text=%0d%0aSet-Cookie:x HTTP/1.0\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ):
        with socket.create_connection(("127.0.0.1", page.port), timeout=30) as one:
            one.sendall(head)
            one.shutdown(socket.SHUT_WR)
            answer = one.makefile("rb").read()
            assert not answer.startswith(b"HTTP/1.1 5"), head[:80]
            assert b"set-cookie" not in answer.lower().partition(b"\r\n\r\n")[0]
    page.get("daemons")


def test_no_operation_fails_on_what_schemathesis_sends(page: PageProcess) -> None:
    pytest.importorskip("schemathesis")
    done = subprocess.run(
        [sys.executable, "-m", "schemathesis.cli", "run", f"{page.url}/api/v1/openapi.json",
         "--url", f"{page.url}/api/v1", "--checks", "not_a_server_error", "--phases", "fuzzing",
         "--max-examples", str(stress(200, 5)), "--header", f"X-Token: {page.token['X-Token']}",
         "--generation-database", "none"],
        capture_output=True, text=True, timeout=3600, cwd=page.store,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    page.get("daemons")


def test_idle_connections_keep_no_browser_out(page: PageProcess) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = stress(10_000, MOST_CONNECTIONS + 100)
    wanted = min(hard, count + 200) if hard != resource.RLIM_INFINITY else count + 200
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    try:
        with ExitStack() as stack:
            strangers = [
                stack.enter_context(socket.create_connection(("127.0.0.1", page.port), timeout=30))
                for _ in range(min(count, wanted - 150))
            ]
            assert httpx.get(f"{page.url}/api/v1/daemons", timeout=30).status_code == 200
            assert strangers[0].recv(1) == b""  # the oldest made room
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_connections_that_come_at_once_make_room(page: PageProcess) -> None:
    with ExitStack() as stack:
        page.process.send_signal(signal.SIGSTOP)
        for _ in range(MOST_CONNECTIONS + 200):
            stranger = socket.create_connection(("127.0.0.1", page.port), timeout=30)
            stack.enter_context(stranger)
        page.process.send_signal(signal.SIGCONT)
        assert httpx.get(f"{page.url}/api/v1/daemons", timeout=30).status_code == 200
        held = len(list(Path(f"/proc/{page.process.pid}/fd").iterdir()))
        assert held < MOST_CONNECTIONS + 100


def test_slow_clients_are_closed(page: PageProcess) -> None:
    """Those whose headers, and those whose body, do not come."""
    with ExitStack() as stack:
        at = ("127.0.0.1", page.port)
        slow = [stack.enter_context(socket.create_connection(at, timeout=60)) for _ in range(2)]
        slow[0].sendall(b"GET / HTTP/1.1\r\nHost: 127.0")
        slow[1].sendall(
            b"PUT /api/v1/predictions/1/review HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            + f"X-Token: {page.token['X-Token']}\r\nContent-Length: 9000\r\n\r\n{{".encode()
        )
        for each in slow:
            with suppress(ConnectionResetError):
                assert each.recv(1) == b""


def test_a_page_of_another_site_has_nothing_done(page: PageProcess) -> None:
    def ask(site: str, mode: str, path: str = "live", method: str = "HEAD") -> int:
        headers = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": mode}
        return page.http.request(method, f"/api/v1/{path}", headers=headers).status_code

    assert ask("same-origin", "cors") == ask("none", "navigate") == 200
    assert ask("cross-site", "navigate") == 200, "a link to it"
    assert ask("cross-site", "cors") == ask("same-site", "no-cors") == 403
    assert ask("cross-site", "no-cors", "session", "GET") == 403
    assert ask("cross-site", "navigate", "sign-in", "POST") == 403, "a form"
    assert page.http.get("/", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 200


def test_requests_without_end_cost_no_memory(page: PageProcess) -> None:
    """A client that asks again and again, and reads no answer."""
    some = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 10_000
    with socket.create_connection(("127.0.0.1", page.port), timeout=30) as one:
        sent = 0
        with suppress(ConnectionResetError, BrokenPipeError):
            while sent < 200:  # 72 MB
                one.sendall(some)
                sent += 1
    assert sent < 40, "it took whatever came"
    page.get("daemons")


def test_a_stranger_writes_no_faults_into_the_log(page: PageProcess) -> None:
    before = page.log.read_text()
    for head in (
        b"POST /api/v1/sign-in HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\n{",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    ):
        with socket.create_connection(("127.0.0.1", page.port), timeout=30) as one:
            one.sendall(head)
            one.shutdown(socket.SHUT_WR)
            while one.recv(1 << 16):
                pass
    page.get("daemons")
    assert page.log.read_text() == before


def test_a_message_id_opens_no_other_file(page: PageProcess) -> None:
    """Only numbers of stored rows open sounds."""
    for number in ("../../etc/passwd", "1%2f..%2f..", "-1", "0", "1e3", str(2**64)):
        request = page.http.build_request("GET", "/")
        request.url = httpx.URL(f"{page.url}/api/v1/predictions/{number}/sound.wav")
        assert page.http.send(request).status_code in (400, 404)
    assert msgspec.json.decode(page.http.get("/api/v1/daemons").content)[0]["node"] is None
