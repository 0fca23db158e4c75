"""A client process: `python -m tests.front.open_loop` reads a plan as JSON, sends requests, and writes what it got as JSON.

It sends each request when the plan says, whether others have been answered or not, as the clients of an overloaded server do; or,
for a plan with `clients`, so many of them at a time, each when the one before is answered, which finds what the server can do.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
import time
from typing import Any

LONGEST_S = 30.0
BROKEN = 0  # the status of a connection that ended without an answer


class Client:
    """Connections to the server, opened when there is none that is free."""

    def __init__(self, port: int) -> None:
        self.answers: list[dict[str, Any]] = []
        self._port = port
        self._free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def ask(self, kind: str, request: str) -> None:
        """Send a request and note the answer; once more when a connection was closed while it was free."""
        began = time.monotonic()
        try:
            answer = await asyncio.wait_for(self._ask(request), LONGEST_S)
        except (OSError, EOFError, TimeoutError):
            answer = {"status": BROKEN}
        self.answers.append({"kind": kind, "began": began, "took_s": time.monotonic() - began, **answer})

    async def close(self) -> None:
        """Close what is open."""
        for _, writer in self._free:
            writer.close()

    async def _ask(self, request: str) -> dict[str, Any]:
        while self._free:
            try:
                return await self._exchange(*self._free.pop(), request)
            except (ConnectionError, asyncio.IncompleteReadError) as error:
                if getattr(error, "partial", b""):
                    raise
        return await self._exchange(*await asyncio.open_connection("127.0.0.1", self._port), request)

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: str) -> dict[str, Any]:
        kept = False
        try:
            writer.write(request.encode("ascii"))
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            lines = head.split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:-2])}
            await reader.readexactly(int(headers.get("content-length", 0)))
            kept = headers.get("connection", "").lower() != "close"
            return {
                "status": int(lines[0].split(" ")[1]),
                "retry_after": headers.get("retry-after", ""),
                "deepest": int(headers.get("x-deepest", 0)),
            }
        finally:
            if kept:
                self._free.append((reader, writer))
            else:
                writer.close()


async def run(plan: dict[str, Any]) -> list[dict[str, Any]]:
    """Carry a plan out and return the answers."""
    client = Client(plan["port"])
    began = time.monotonic()
    if "clients" in plan:
        requests = itertools.cycle(plan["requests"])

        async def repeat() -> None:
            while time.monotonic() < began + plan["seconds"]:
                await client.ask(*next(requests))

        await asyncio.gather(*(repeat() for _ in range(plan["clients"])))
    else:
        asked = []
        for at, kind, request in plan["arrivals"]:
            await asyncio.sleep(max(0.0, began + at - time.monotonic()))
            asked.append(asyncio.create_task(client.ask(kind, request)))
        await asyncio.gather(*asked)
    await client.close()
    return client.answers


if __name__ == "__main__":
    json.dump(asyncio.run(run(json.load(sys.stdin))), sys.stdout)
