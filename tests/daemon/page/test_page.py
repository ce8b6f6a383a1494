"""The page in a process, beside a real daemon: answers, access, and faults that it survives."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile
from pages import PageProcess
from running import Daemon, of_type, tinyastd
from sounds import write_wav

from daemon.page.export import csv_lines
from daemon.page.store.pictures import Pictures
from daemon.page.store.reader import Ranked, Row
from daemon.page.web.access import Gate

ACCEPT_ALL = {"TINYAST_DECISION__THRESHOLD": "0", "TINYAST_DECISION__UNKNOWN": "false"}
HOSTILE = "<img src=x onerror=alert(1)>\x1b[31m.wav"


@pytest.fixture(scope="module")
def listening(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon that accepts all, and has heard some files, and one whose name is code."""
    made = Daemon(tmp_path_factory.mktemp("heard"), env=ACCEPT_ALL).start()
    for number in range(6):
        write_wav(made.folder / f"sound-{number}.wav", seconds=7)
    write_wav(made.folder / HOSTILE)
    (made.folder / "notes.wav").write_text("no sound")
    made.ends(8)
    yield made
    made.clean_up()


@pytest.fixture(scope="module")
def page(listening: Daemon) -> Iterator[PageProcess]:
    made = PageProcess(listening.base, listening).start()
    made.predictions(13)
    made.catch_up(listening)
    yield made
    made.clean_up()


def test_each_message_is_a_row(page: PageProcess, listening: Daemon) -> None:
    heard = listening.hear(lambda r: len(of_type(r, "file")) == 8)
    rows = {row["id"]: row for row in page.predictions(13)}
    assert {m["id"] for m in of_type(heard, "prediction")} == set(rows)
    for message in of_type(heard, "prediction"):
        row = rows[message["id"]]
        assert row["label"] == message["label"]
        assert row["score"] == pytest.approx(message["score"], abs=1e-6)
        assert (row["decision"], row["reason"]) == (message["decision"], message["reason"])
        assert row["path"] == message["source"]["path"]
    files = {each["path"]: each for each in page.get("files")}
    assert len(files) == 8
    assert files[str(listening.folder / "notes.wav")]["error_code"] == "not_audio"
    assert "started" in [each["what"] for each in page.get("statuses")]


def test_filters_and_pages_of_a_list(page: PageProcess) -> None:
    everything = page.get("predictions")
    some = page.get("predictions", text="sound-3")
    assert {Path(row["path"]).name for row in some} == {"sound-3.wav"}
    best = max(row["score"] for row in everything)
    assert all(row["score"] >= best for row in page.get("predictions", min_score=best))
    accepted = page.get("predictions", decision="accepted")
    rejected = page.get("predictions", decision="rejected")
    assert len(accepted) + len(rejected) == len(everything)
    seen: list[int] = []
    place: dict[str, int] = {}
    while rows := page.get("predictions", limit=4, **place):
        seen += [row["number"] for row in rows]
        place = {"before_at": rows[-1]["at"], "before": rows[-1]["number"]}
    assert seen == [row["number"] for row in everything]


def test_a_window_is_played_as_it_was_recorded(page: PageProcess, listening: Daemon) -> None:
    (second,) = [
        row for row in page.get("predictions", text="sound-1") if row["start_s"] == pytest.approx(2)
    ]
    whole = page.http.get(f"/api/v1/predictions/{second['number']}/sound.wav")
    samples, rate = soundfile.read(io.BytesIO(whole.content))
    expected, _ = soundfile.read(listening.folder / "sound-1.wav")
    np.testing.assert_allclose(samples, expected[round(2 * rate) :], atol=1e-4)
    part = page.http.get(whole.url, headers={"Range": "bytes=100-199"})
    assert (part.status_code, part.content) == (206, whole.content[100:200])
    assert part.headers["content-range"] == f"bytes 100-199/{len(whole.content)}"
    tail = page.http.get(whole.url, headers={"Range": "bytes=-7"})
    assert tail.content == whole.content[-7:]
    beyond = page.http.get(whole.url, headers={"Range": f"bytes={len(whole.content)}-"})
    assert beyond.status_code == 416
    for odd in ("bytes=0-0,5-9", "bytes=x-y", "lines=1-2", "bytes=--5", "bytes=" + "9" * 400 + "-",
                "bytes=10-5", "bytes=-"):  # fmt: skip
        assert page.http.get(whole.url, headers={"Range": odd}).status_code == 200
    of_a_version = {"Range": "bytes=0-3", "If-Range": '"an older one"'}
    assert page.http.get(whole.url, headers=of_a_version).content == whole.content


def test_a_picture_is_a_png_of_64_by_64(page: PageProcess) -> None:
    row = page.get("predictions", limit=1)[0]
    data = page.http.get(f"/api/v1/predictions/{row['number']}/picture.png").content
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert data[16:24] == (64).to_bytes(4, "big") * 2
    start = data.index(b"IDAT") + 4
    size = int.from_bytes(data[start - 8 : start - 4], "big")
    lines = zlib.decompress(data[start : start + size])
    assert len(lines) == 64 * 65
    assert {lines[65 * n] for n in range(64)} == {2}  # each row as the difference to the last
    rows = np.frombuffer(lines, np.uint8).reshape(64, 65)[:, 1:].cumsum(axis=0, dtype=np.uint8)
    assert (rows.min(), rows.max()) == (0, 255)


def test_pictures_that_daemons_publish_are_kept(
    daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    """They are shown when the sound is gone, and the newest replace the oldest."""
    running = daemon(env={"TINYAST_PICTURES__PUBLISH": "true"}).start()
    made = PageProcess(tmp_path, running).start()
    try:
        made.wait_for(lambda: made.get("daemons")[0]["state"] == "running", "following")
        path = write_wav(running.folder / "a.wav")
        (row,) = made.predictions(1)
        path.unlink()
        assert made.http.get(f"/api/v1/predictions/{row['number']}/sound.wav").status_code == 404
        answer = made.http.get(f"/api/v1/predictions/{row['number']}/picture.png")
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
        assert made.stop() == 0
        kept = Pictures(made.store, 1.0)
        assert kept.get(row["id"]) == answer.content
        many = [(f"{number:032x}", answer.content) for number in range(1_500)]
        kept.add(many)
        kept.add([("no number", answer.content), ("f" * 32, b"GIF89a")])
        assert kept.get(row["id"]) is None
        assert kept.get(many[499][0]) is None
        assert all(kept.get(id) for id, _ in many[500:])
        assert kept.get("f" * 32) is None
        kept.close()
    finally:
        made.clean_up()


def test_sound_outside_of_the_folders_is_not_opened(page: PageProcess, listening: Daemon) -> None:
    """The row is of a real file that a link has since taken the place of."""
    (row,) = [r for r in page.get("predictions", text="sound-5") if r["start_s"] == 0]
    path = listening.folder / "sound-5.wav"
    secret = path.rename(listening.base / "secret.wav")
    path.symlink_to(secret)
    answer = page.http.get(f"/api/v1/predictions/{row['number']}/sound.wav")
    secret.rename(path)
    assert answer.status_code == 404
    assert "cannot be opened" in answer.json()["error"]["text"]


def test_reviews(page: PageProcess) -> None:
    first, second = page.get("predictions", text="sound-0")
    third = page.get("predictions", text="sound-2")[0]
    put = page.http.put
    path = f"/api/v1/predictions/{first['number']}/review"
    assert put(path, json={"verdict": "right"}).status_code == 403  # without the token
    assert put(path, json={"verdict": "right"}, headers=page.token).json()["verdict"] == "right"
    other = f"/api/v1/predictions/{second['number']}/review"
    body = {"verdict": "other", "label": "kettle"}
    assert put(other, json=body, headers=page.token).json()["corrected"] == "kettle"
    bad: object
    for bad in ({"verdict": "other"}, {"verdict": "maybe"}, {"verdict": "wrong", "label": "x"}, []):
        assert put(other, json=bad, headers=page.token).status_code == 400
    left = [row["number"] for row in page.get("review")]
    assert not {first["number"], second["number"]} & set(left)
    archive = zipfile.ZipFile(io.BytesIO(page.http.get("/api/v1/reviews.zip").content))
    table = list(csv.DictReader(io.StringIO(archive.read("metadata.csv").decode())))
    assert {row["label"] for row in table} == {first["label"], "kettle"}
    for row in table:
        samples, rate = soundfile.read(io.BytesIO(archive.read(row["filename"])))
        assert len(samples) == pytest.approx(5 * rate, abs=rate)
    assert page.http.delete(other, headers=page.token).json()["verdict"] is None
    assert page.http.delete(other, headers=page.token).status_code == 404
    assert third["verdict"] is None


def test_exports(page: PageProcess) -> None:
    rows = page.get("predictions")
    text = page.http.get("/api/v1/export", params={"format": "csv"}).text
    table = list(csv.DictReader(io.StringIO(text)))
    assert sorted(row["path"] for row in table) == sorted(row["path"] for row in rows)
    lines = page.http.get("/api/v1/export", params={"format": "jsonl"}).text.splitlines()
    assert sorted(json.loads(line)["score"] for line in lines) == sorted(r["score"] for r in rows)
    parquet = pytest.importorskip("pyarrow.parquet")
    data = page.http.get("/api/v1/export", params={"format": "parquet"}).content
    exported = parquet.read_table(io.BytesIO(data)).to_pylist()
    assert exported == [json.loads(line) for line in lines]


def annotated(page: PageProcess, **values: str) -> Any:
    return page.http.get("/api/v1/export", params=values)


@pytest.fixture(scope="module")
def classified(listening: Daemon) -> list[dict[str, str]]:
    """What `classify` says of the same files, in columns of Kaleidoscope."""
    done = tinyastd("classify", listening.folder, "--format", "kaleidoscope", env=ACCEPT_ALL)
    return list(csv.DictReader(io.StringIO(done.stdout)))


def in_order(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    return sorted(rows, key=lambda row: (row["IN FILE"], float(row["OFFSET"])))


def test_tables_for_annotation_are_those_of_classify(
    page: PageProcess, classified: list[dict[str, str]]
) -> None:
    answer = annotated(page, format="kaleidoscope")
    assert 'filename="tinyast.csv"' in answer.headers["content-disposition"]
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert len(rows) == 13
    for row, expected in zip(in_order(rows), in_order(classified), strict=True):
        score = float(row.pop("MATCH RATIO"))
        assert score == pytest.approx(float(expected["MATCH RATIO"]), abs=2e-4)
        assert row | {"MANUAL ID": ""} == {name: expected[name] for name in row}
    table = list(
        csv.DictReader(io.StringIO(annotated(page, format="raven").text), dialect="excel-tab")
    )
    at = {(row["IN FILE"], float(row["OFFSET"])): row["AUTO ID"] for row in classified}
    before, path, length = 0.0, None, 0.0
    for row in table:
        begin, offset = float(row["Begin Time (s)"]), float(row["File Offset (s)"])
        if row["Begin Path"] != path:  # the next recording begins at the end of the one before
            before, path, length = before + length, row["Begin Path"], 0.0
        length = max(length, offset + 5)
        assert begin == pytest.approx(before + offset)
        assert at.pop((Path(row["Begin Path"]).name.replace("\t", " "), offset)) == row["Label"]
    assert at == {}


def test_a_table_for_each_recording(page: PageProcess, listening: Daemon, tmp_path: Path) -> None:
    """In a zip, with the content of the files that `classify` writes."""
    done = tinyastd(
        "classify", listening.folder, "--format", "audacity", "--output", tmp_path, "--join",
        env=ACCEPT_ALL,
    )  # fmt: skip
    assert "failed" in done.stderr
    answer = annotated(page, format="audacity", separate="true", join="true")
    archive = zipfile.ZipFile(io.BytesIO(answer.content))
    assert archive.testzip() is None
    ours = {name: archive.read(name).decode() for name in archive.namelist()}
    theirs = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert sorted(ours.values()) == sorted(theirs.values())
    (hostile,) = set(ours) - set(theirs)
    assert hostile == "_img src=x onerror=alert(1)__[31m.txt"
    assert annotated(page, format="audacity", text="sound-1").text.count("\n") == 2
    several = annotated(page, format="audacity")
    assert (several.status_code, "separate=true" in several.text) == (400, True)
    assert annotated(page, format="csv", join="true").status_code == 400


def test_a_persons_label_is_in_the_table(page: PageProcess) -> None:
    row = page.get("predictions", text="sound-4")[0]
    path = f"/api/v1/predictions/{row['number']}/review"
    body = {"verdict": "other", "label": "kettle"}
    assert page.http.put(path, json=body, headers=page.token).status_code == 200
    text = annotated(page, format="kaleidoscope", text="sound-4").text
    found = [each["MANUAL ID"] for each in csv.DictReader(io.StringIO(text))]
    assert sorted(found) == ["", "kettle"]
    page.http.delete(path, headers=page.token)


def test_a_spreadsheet_runs_nothing() -> None:
    row = Row(
        1, "00", 1, "n", "file", "=HYPERLINK(1)", "+1.wav", False, None, 0, 0, 0.0, 5.0, 0.0,
        "name", False, "dog", 0.5, 0.5, "accepted", None, -20.0, 1, [Ranked("dog", 0.5)], "m 1",
        False, None, None,
    )  # fmt: skip
    (cells,) = csv.DictReader(io.StringIO(b"".join(csv_lines(iter([row]))).decode()))
    assert (cells["source"], cells["path"]) == ("'=HYPERLINK(1)", "'+1.wav")


def test_the_live_stream_tells_of_a_new_file(page: PageProcess, listening: Daemon) -> None:
    with page.http.stream("GET", "/api/v1/live") as stream:
        assert stream.headers["x-accel-buffering"] == "no"  # for proxies to pass it on at once
        lines = stream.iter_lines()
        assert next(lines) == "event: hello"
        write_wav(listening.folder / "late.wav")
        told = [next(line for line in lines if "late.wav" in line) for _ in range(2)]
    assert page.http.head("/api/v1/live", timeout=10).status_code == 200  # it ends
    shown, message = (json.loads(line.removeprefix("data: ")) for line in told)
    assert shown[0]["row"]["id"] == message["id"]  # the row first, so that a browser needs no more


# -- access --------------------------------------------------------------------------------------


def test_headers_of_every_answer(page: PageProcess) -> None:
    for path in ("/", "/api/v1/daemons", "/static/app.js", "/nothing"):
        headers = page.http.get(path).headers
        assert "unsafe-inline" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert "server" not in headers


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "", "a" * 300, "[", "[::1"]
)
def test_a_rebound_name_is_refused(page: PageProcess, host: str) -> None:
    answer = page.http.get("/api/v1/daemons", headers={"Host": host})
    assert answer.status_code == 400


def test_static_files_stay_in_their_folder(page: PageProcess) -> None:
    for path in ("/static/../page/app.py", "/static/%2e%2e/app.py", "/static/..%2fapp.py"):
        request = page.http.build_request("GET", "/")
        request.url = httpx.URL(page.url + path)
        assert page.http.send(request).status_code in (400, 404)


def test_a_request_that_does_not_fit_is_told_what_may_be(page: PageProcess) -> None:
    answers = {
        "predictions?limit=none": "`limit` is a whole number from 1 to 1000",
        "predictions?limit=1001": "`limit` is a whole number from 1 to 1000",
        "predictions?min_score=2": "`min_score` is a number from 0 to 1",
        "predictions?decision=maybe": "`decision` is one of accepted, rejected",
        f"predictions?label={'x' * 201}": "`label` is text of at most 200 characters",
        "export?join=perhaps": "`join` is true or false",
        "days?day=today": "`day` is a date such as 2026-05-31",
        "days?zone=*": "`zone` is a time zone such as Europe/Berlin",
        "reviews?lmit=5": "there is no `lmit`; known are limit",
    }
    assert {path: page.http.get(f"/api/v1/{path}").json() for path in answers} == {
        path: {"error": {"code": "bad_request", "text": text}} for path, text in answers.items()
    }
    (row,) = page.get("predictions", limit=1)
    bodies = {
        "": "the body is a JSON object with verdict, label",
        "[]": "the body is a JSON object with verdict, label",
        "{}": "`verdict` is one of ignore, other, right, wrong",
        '{"verdict": "other", "label": "*"}': (
            "`label` is text of 1 to 100 letters, digits, spaces and _.,()&'-"
        ),
    }
    review = f"/api/v1/predictions/{row['number']}/review"
    for content, text in bodies.items():
        answer = page.http.put(review, content=content, headers=page.token)
        assert answer.json()["error"]["text"] == text
    answer = page.http.post("/api/v1/sign-in", json={"password": 5})
    assert answer.json()["error"]["text"] == "`password` is text"


ODD = ["", "-1", "1e999", "nan", "2" * 40, "'; DROP TABLE", "\x00", "é" * 300, "9999-99-99"]


def test_no_request_is_answered_with_a_fault(page: PageProcess) -> None:
    """Every parameter of the OpenAPI document, with values that do not fit."""
    document = page.get("openapi.json")
    token, asked = page.token, 0
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            names = [each["name"] for each in operation["parameters"] if each["in"] == "query"]
            tries = [("1", {}), ("1", {"unknown": "1"})]
            tries += [("1", {name: value}) for name in names for value in ODD]
            if "{number}" in path:
                tries += [(number, {}) for number in ("999999", "-1", "2" * 30, "2" * 5000, "x")]
            for number, values in tries:
                url = "/api/v1" + path.replace("{number}", number)
                answer = page.http.request(method, url, params=values, headers=token, content=b"{")
                assert answer.status_code < 500, (url, values)
                asked += 1
    assert asked > 500


def test_a_huge_body_is_refused(page: PageProcess) -> None:
    row = page.get("predictions", limit=1)[0]
    path = f"/api/v1/predictions/{row['number']}/review"
    assert page.http.put(path, content=b"x" * 20_000, headers=page.token).status_code == 413


def refused(*options: str) -> str:
    command = [sys.executable, "-m", "daemon", "page", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2, done.stderr
    return done.stderr


def test_others_are_let_in_only_with_a_password(tmp_path: Path) -> None:
    at = ("--store", str(tmp_path), "--port", "1")
    assert "--password-file" in refused(*at, "--host", "0.0.0.0")
    secret = tmp_path / "password"
    secret.write_text("correct horse\n")
    secret.chmod(0o644)
    assert "chmod 600" in refused(*at, "--password-file", str(secret))
    secret.chmod(0o600)
    secret.write_text("short\n")
    assert "at least" in refused(*at, "--password-file", str(secret))
    assert "No such file" in refused(*at, "--password-file", str(tmp_path / "none"))
    assert "go together" in refused(*at, "--tls-cert", str(secret))
    assert "--connect is" in refused(*at, "--connect", "nowhere")


def test_signing_in(tmp_path: Path, listening: Daemon) -> None:
    secret = tmp_path / "password"
    secret.write_text("correct horse\n")
    secret.chmod(0o600)
    page = PageProcess(tmp_path, listening, options=("--password-file", str(secret))).start()
    try:
        http = page.http
        assert http.get("/api/v1/predictions").status_code == 401
        assert http.get("/").status_code == 200
        sign_in = "/api/v1/sign-in"
        elsewhere = {"Sec-Fetch-Site": "cross-site"}
        right = {"password": "correct horse"}
        assert http.post(sign_in, json=right, headers=elsewhere).status_code == 403
        (cookie,) = http.post(sign_in, json=right).cookies
        http.cookies.clear()
        http.cookies.set(cookie, "mine")  # a session that somebody else knows is not taken on
        done = http.post(sign_in, json=right)
        assert f"{cookie}=mine" not in done.headers["set-cookie"]
        http.cookies.clear()
        mine = {"Cookie": f"{cookie}=mine"}
        assert http.get("/api/v1/predictions", headers=mine).status_code == 401
        http.cookies.update(done.cookies)
        cookie = done.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert http.get("/api/v1/predictions").status_code == 200
        assert http.post("/api/v1/sign-out").status_code == 403  # a write without its token
        session = dict(done.cookies)
        assert http.post("/api/v1/sign-out", headers=page.token).status_code == 200
        http.cookies.clear()
        http.cookies.update(session)  # it has ended for whoever kept the cookie, too
        assert http.get("/api/v1/predictions").status_code == 401
        http.cookies.clear()
        slowed = after_a_guess(http, sign_in, right)
        assert (slowed.status_code, int(slowed.headers["retry-after"]) >= 1) == (429, True)
        command = [sys.executable, "-m", "daemon", "page", "--store", str(page.store)]
        token = subprocess.run(
            [*command, "--token", "script"], capture_output=True, text=True, check=True, timeout=60
        ).stdout.strip()
        bearer = {"Authorization": f"Bearer {token}"}
        assert http.get("/api/v1/predictions", headers=bearer).status_code == 200
        wrong = {"Authorization": "Bearer guess"}
        assert http.get("/api/v1/predictions", headers=wrong).status_code == 401
    finally:
        page.clean_up()


def test_guesses_at_once_wait_for_each_other(tmp_path: Path) -> None:
    """Each takes 128 MB, and they are slowed down as one after another are."""
    secret = tmp_path / "password"
    secret.write_text("correct horse\n")
    secret.chmod(0o600)
    options = "--password-file", str(secret), "--connect", "ipc:///nowhere/p,ipc:///nowhere/r"
    page = PageProcess(tmp_path, options=options).start()
    try:

        def guess(number: int) -> int:
            body = {"password": f"guess {number}"}
            return page.http.post("/api/v1/sign-in", json=body).status_code

        with ThreadPoolExecutor(8) as pool:
            codes = sorted(pool.map(guess, range(8)))
        assert codes.count(429) >= 4, codes
        status = Path(f"/proc/{page.process.pid}/status").read_text()
        (peak,) = (int(line.split()[1]) for line in status.splitlines() if "VmHWM" in line)
        assert peak < 400_000  # kB
    finally:
        page.clean_up()


def test_pages_of_one_host_have_cookies_of_their_own() -> None:
    """For a browser, the cookies of a host are those of all its ports."""
    places = "host:5757 /state", "host:5758 /state", "other:5757 /state"
    assert len({Gate(None, set(), place).cookie for place in places}) == 3


def after_a_guess(http: httpx.Client, url: str, right: dict[str, str]) -> httpx.Response:
    """The answer to the right password just after a wrong one; the pause may pass unused once."""
    for _ in range(10):
        assert http.post(url, json={"password": "guess"}).status_code == 401
        answer = http.post(url, json=right)
        http.cookies.clear()
        if answer.status_code != 200:
            break
    return answer


def test_the_document_names_every_field_of_a_row(page: PageProcess) -> None:
    text = (Path(__file__).parents[3] / "docs" / "page.md").read_text()
    row = page.get("predictions", limit=1)[0]
    assert [name for name in row if not re.search(rf"`{name}`", text)] == []
