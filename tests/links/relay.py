"""A wire between two sockets that carries so many bytes a second, so many seconds late."""

from __future__ import annotations

import queue
import socket
import threading
import time
from dataclasses import dataclass, field

_CHUNK = 8192


@dataclass
class Relay:
    """Takes one connection and passes it on, each way at its own rate."""

    target: tuple[str, int]
    up_bytes_per_s: float
    down_bytes_per_s: float
    delay_s: float = 0.0
    passed_bytes: int = 0
    _server: socket.socket = field(init=False)

    def __post_init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._run, daemon=True).start()

    @property
    def address(self) -> tuple[str, int]:
        host, port = self._server.getsockname()
        return host, port

    def _run(self) -> None:
        with self._server:
            near, _ = self._server.accept()
        far = socket.create_connection(self.target)
        for end in (near, far):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        ways = [
            threading.Thread(target=self._pass, args=way, daemon=True)
            for way in ((near, far, self.up_bytes_per_s), (far, near, self.down_bytes_per_s))
        ]
        for way in ways:
            way.start()
        for way in ways:
            way.join()
        near.close()
        far.close()

    def _pass(self, source: socket.socket, sink: socket.socket, rate: float) -> None:
        pending: queue.Queue[tuple[float, bytes]] = queue.Queue()
        writer = threading.Thread(target=_deliver, args=(pending, sink), daemon=True)
        writer.start()
        free_at = time.monotonic()
        while chunk := _receive(source):
            self.passed_bytes += len(chunk)
            free_at = max(free_at, time.monotonic()) + len(chunk) / rate
            pending.put((free_at + self.delay_s, chunk))
        pending.put((0.0, b""))
        writer.join()


def _receive(source: socket.socket) -> bytes:
    try:
        return source.recv(_CHUNK)
    except OSError:
        return b""


def _deliver(pending: queue.Queue[tuple[float, bytes]], sink: socket.socket) -> None:
    while True:
        due, chunk = pending.get()
        time.sleep(max(0.0, due - time.monotonic()))
        try:
            if not chunk:
                sink.shutdown(socket.SHUT_WR)
                return
            sink.sendall(chunk)
        except OSError:
            return
