"""A TCP proxy that cuts and holds up connections at random, whatever protocol they speak."""

from __future__ import annotations

import random
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class CuttingProxy:
    """Forwards to ``target``; while ``nasty``, any piece of data may be the last of its connection, or come late."""

    def __init__(self, target: tuple[str, int], seed: int) -> None:
        self._target = target
        self._dice = random.Random(seed)
        self._stop = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.nasty = True
        self.cuts = 0

    def run(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                try:
                    server = socket.create_connection(self._target, timeout=5)
                except OSError:
                    client.close()
                    continue
                for source, sink in ((client, server), (server, client)):
                    threading.Thread(target=self._forward, args=(source, sink), daemon=True).start()

    def close(self) -> None:
        self._stop.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _forward(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                fate = self._dice.random() if self.nasty else 1.0
                if fate < 0.1:
                    self.cuts += 1
                    sink.sendall(data[: len(data) // 2])
                    break
                if fate < 0.13:
                    self._stop.wait(0.5)
                sink.sendall(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


@contextmanager
def cutting_proxy(url: str, seed: int) -> Iterator[CuttingProxy]:
    host, _, port = url.rpartition("//")[2].rpartition(":")
    proxy = CuttingProxy((host, int(port)), seed)
    thread = threading.Thread(target=proxy.run, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.close()
        thread.join()
