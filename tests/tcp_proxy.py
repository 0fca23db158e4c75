"""A TCP proxy in a thread, so that a network between two parts can be made silent, cut or slow."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Protocol

CHUNK = 65_536


class Listener(Protocol):
    """Who hears what passes on one connection, before it is forwarded."""

    def sent(self, data: bytes) -> None:
        """Hear what the client sent."""

    def answered(self, data: bytes) -> None:
        """Hear what the server sent."""


class Deaf:
    """A listener that does not listen."""

    def sent(self, data: bytes) -> None: ...

    def answered(self, data: bytes) -> None: ...


class TcpProxy:
    """A context that forwards what arrives at `address:port` to a port of 127.0.0.1.

    What it may do is said from any thread: `blackhole`, `cut`, `delay`, and `restore`.
    """

    def __init__(self, to_port: int, address: str = "127.0.0.1", listener: Callable[[], Listener] = Deaf) -> None:
        self.address = address
        self.port = 0
        self.connections = 0  # that were accepted, or refused while cut
        self._to_port = to_port
        self._listener = listener
        self._is_cut = False
        self._delay_s = 0.0
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._forwards = asyncio.Event()
        self._forwards.set()

    def __enter__(self) -> TcpProxy:
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy")
        self._thread.start()
        self._run(self._listen)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._run(self._end)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)
        self._loop.close()

    def blackhole(self) -> None:
        """Accept and read, and forward nothing; as a network does that loses its packets, of which none is lost in the end."""
        self._run(self._set, False, False, 0.0)

    def cut(self) -> None:
        """Reset every connection, and every new one."""
        self._run(self._set, True, True, 0.0)

    def delay(self, seconds: float) -> None:
        """Forward everything so much later."""
        self._run(self._set, True, False, seconds)

    def restore(self) -> None:
        """Forward again, and first what was held back."""
        self._run(self._set, True, False, 0.0)

    def _run(self, what, *arguments) -> None:
        asyncio.run_coroutine_threadsafe(what(*arguments), self._loop).result(30)

    async def _set(self, forwards: bool, is_cut: bool, delay_s: float) -> None:
        self._is_cut, self._delay_s = is_cut, delay_s
        if forwards:
            self._forwards.set()
        else:
            self._forwards.clear()
        if is_cut:
            for task in self._tasks:
                task.cancel()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, self.address, 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _end(self) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        with suppress(asyncio.CancelledError):  # by `_end`
            try:
                if not self._is_cut:
                    await self._connect(reader, writer)
            except* OSError:
                pass  # one side has gone, and so shall the other
            finally:
                await _close(writer)
                self._tasks.discard(task)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        listener = self._listener()
        there = _Way(reader, listener.sent)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(there.read())  # also while there is nobody to forward it to
                await self._forwards.wait()
                to_reader, there.writer = await asyncio.open_connection("127.0.0.1", self._to_port)
                back = _Way(to_reader, listener.answered)
                back.writer = writer
                tasks.create_task(back.read())
                tasks.create_task(self._forward(there))
                tasks.create_task(self._forward(back))
        finally:
            if there.writer:
                await _close(there.writer)

    async def _forward(self, way: _Way) -> None:
        while True:
            data = await way.held.get()
            await self._forwards.wait()
            if self._delay_s:
                await asyncio.sleep(self._delay_s)
            assert way.writer
            if not data:
                way.writer.write_eof()
                return
            way.writer.write(data)
            await way.writer.drain()


class _Way:
    """One direction of a connection."""

    def __init__(self, reader: asyncio.StreamReader, heard: Callable[[bytes], None]) -> None:
        self.writer: asyncio.StreamWriter | None = None
        self.held: asyncio.Queue[bytes] = asyncio.Queue()
        self._reader = reader
        self._heard = heard

    async def read(self) -> None:
        """Take in what comes, until the end."""
        data = b"-"
        while data:
            data = await self._reader.read(CHUNK)
            self._heard(data)
            self.held.put_nowait(data)


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()
    with suppress(OSError):
        await writer.wait_closed()
