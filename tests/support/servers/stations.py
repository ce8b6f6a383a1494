"""Servers of network streams: a radio with a password, HLS, raw samples."""

from __future__ import annotations

import socket
import struct
import subprocess
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

USER, PASSWORD, TOKEN = "gardener", "geheim-kennwort", "t0ken-of-the-query"
STEP_S = 0.02  # between writes


def encode(clip: Path, target: Path, *options: str, seconds: int = 60) -> Path:
    """`clip` over and over, as ffmpeg encodes it for the name of `target`."""
    line = ["ffmpeg", "-v", "error", "-y", "-stream_loop", "-1", "-i", str(clip)]
    subprocess.run([*line, "-t", str(seconds), *options, str(target)], check=True)
    return target


def send_in_time(
    send: Callable[[bytes], object], content: bytes, rate: int, stop: threading.Event
) -> None:
    """Send `content` over and over, `rate` bytes a second, until `stop`."""
    step = max(2, round(rate * STEP_S) // 2 * 2)
    at, due = 0, time.monotonic()
    while not stop.wait(max(0.0, due - time.monotonic())):
        due += step / rate
        part = content[at : at + step]
        at = at + step if at + step < len(content) else 0
        send(part)


class Station(ThreadingHTTPServer):
    """Serves /live.mp3 without end to those who know the password, and files."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, root: Path, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Listener)
        self.root = root
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def end(self) -> None:
        self.stop.set()
        self.shutdown()
        self.server_close()
        self.thread.join()


class Listener(BaseHTTPRequestHandler):
    server: Station

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/live.mp3":
            self._live()
            return
        file = self.server.root / path.strip("/")
        if not file.is_file():
            self.send_error(404)
            return
        body = file.read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _live(self) -> None:
        known = "Basic " + b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if self.headers.get("Authorization") != known:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="station"')
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Type", "audio/mpeg")
        self.end_headers()
        with suppress(OSError):
            content = (self.server.root / "live.mp3").read_bytes()
            send_in_time(self.wfile.write, content, 16_000, self.server.stop)  # 128 kbit/s

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def endless(head: bytes, more: bytes) -> Iterator[str]:
    """A server that answers with `head`, and then `more` without end; gives its URL."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with suppress(OSError):
            while True:
                client, _ = listening.accept()
                client.settimeout(30)
                with client, suppress(OSError):
                    client.recv(4096)
                    client.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + head)
                    while True:
                        client.sendall(more)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join()


@contextmanager
def raw_over_tcp(content: bytes, rate: int) -> Iterator[int]:
    """A server of raw samples, from the start for each client; gives its port."""
    stop = threading.Event()
    listening = socket.create_server(("127.0.0.1", 0))
    threads: list[threading.Thread] = []

    def serve(client: socket.socket) -> None:
        with client, suppress(OSError):
            send_in_time(client.sendall, content, rate, stop)

    def accept() -> None:
        with suppress(OSError):
            while True:
                client, _ = listening.accept()
                client.settimeout(30)
                threads.append(threading.Thread(target=serve, args=(client,), daemon=True))
                threads[-1].start()

    threads.append(threading.Thread(target=accept))
    threads[0].start()
    try:
        yield int(listening.getsockname()[1])
    finally:
        stop.set()
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        for thread in threads:
            thread.join()


@contextmanager
def raw_over_udp(content: bytes, rate: int, port: int) -> Iterator[None]:
    """Sends raw samples to a port."""
    stop = threading.Event()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:

        def send(part: bytes) -> None:
            with suppress(ConnectionRefusedError):  # no socket listens yet
                sender.sendto(part, ("127.0.0.1", port))

        thread = threading.Thread(target=send_in_time, args=(send, content, rate, stop))
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


@contextmanager
def camera(content: bytes, rate: int) -> Iterator[tuple[int, list[str]]]:
    """An RTSP camera with picture and sound (L16, `rate` Hz), over TCP, for one client.

    Gives its port, and the first lines of the requests.
    """
    stop = threading.Event()
    asked: list[str] = []
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with suppress(OSError):
            client, _ = listening.accept()
            client.settimeout(30)
            with client, client.makefile("rb") as requests:
                while not (asked and asked[-1].startswith("PLAY")):
                    head = list(iter(lambda: requests.readline().strip().decode(), ""))
                    if not head:
                        return
                    asked.append(head[0])
                    client.sendall(_camera_says(head, rate))
                send_in_time(_as_rtp(client), content, 2 * rate, stop)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield int(listening.getsockname()[1]), asked
    finally:
        stop.set()
        with suppress(OSError):
            listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join()


def _camera_says(head: list[str], rate: int) -> bytes:
    number = next(line for line in head if line.lower().startswith("cseq"))
    method, status, lines, body = head[0].split()[0], "200 OK", ["Session: 1"], ""
    if method == "DESCRIBE" and not any(line.startswith("Authorization:") for line in head):
        status, lines = "401 Unauthorized", ['WWW-Authenticate: Basic realm="camera"']
    elif method == "DESCRIBE":
        body = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=camera\r\nt=0 0\r\n"
        body += "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=control:picture\r\n"
        body += f"m=audio 0 RTP/AVP 97\r\na=rtpmap:97 L16/{rate}/1\r\na=control:sound\r\n"
        lines = ["Content-Type: application/sdp", f"Content-Length: {len(body)}"]
    elif method == "SETUP":
        lines.append("Transport: RTP/AVP/TCP;unicast;interleaved=0-1")
    return "\r\n".join([f"RTSP/1.0 {status}", number, *lines, "", body]).encode()


def _as_rtp(client: socket.socket) -> Callable[[bytes], None]:
    count = frames = 0

    def send(part: bytes) -> None:
        nonlocal count, frames
        header = struct.pack(">BBHII", 0x80, 97, count & 0xFFFF, frames & 0xFFFFFFFF, 7)
        client.sendall(b"$\0" + struct.pack(">H", len(header + part)) + header + part)
        count, frames = count + 1, frames + len(part) // 2

    return send
