"""One run of wrk, and what the processes of the server spent on it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from benchmarks.place import HEADERS
from tests.server import Server

WHY_NOT = "no wrk: install Debian's wrk"
SCRIPT = Path(__file__).parent / "requests.lua"
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Run:
    """The figures of one run; times in milliseconds, `cpu_us` of the server's processes a request."""

    requests: int
    per_second: float
    sent: int
    errors: int
    p50_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float
    cpu_us: float


def run(server: Server, path: str, connections: int, seconds: int, *arguments: str | int) -> Run:
    """Load one address and return what came of it; the arguments are those of requests.lua. Raises SystemExit without wrk."""
    if not shutil.which("wrk"):
        raise SystemExit(WHY_NOT)
    threads = min(connections, 2)
    words = [arguments[0], threads, *arguments[1:]] if arguments else []
    headers = [word for name, value in HEADERS.items() for word in ("-H", f"{name}: {value}")]
    before = cpu_s(server)
    size = [f"-t{threads}", f"-c{connections}", f"-d{seconds}s"]
    done = subprocess.run(
        [
            "wrk",
            *size,
            "--latency",
            "--timeout",
            "10s",
            "-s",
            str(SCRIPT),
            *headers,
            f"{server.url}{path}",
            "--",
            *map(str, words),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    spent = cpu_s(server) - before
    lines = [line.removeprefix("JSON ") for line in done.stdout.splitlines() if line.startswith("JSON ")]
    if not lines:
        raise SystemExit(f"wrk failed: {done.stdout}{done.stderr}")
    found = json.loads(lines[0])
    return Run(
        requests=found["requests"],
        per_second=round(found["requests"] / found["seconds"], 1),
        sent=found["sent"],
        errors=found["refused"] + found["broken"],
        cpu_us=round(spent / max(1, found["requests"]) * 1e6, 1),
        **{name: found[name] for name in ("p50_ms", "p90_ms", "p95_ms", "p99_ms")},
    )


def cpu_s(server: Server) -> float:
    """Return the seconds of CPU that the server and its workers have used."""
    return sum(_ticks(pid) for pid in (server.process.pid, *server.workers())) / TICKS


def _ticks(pid: int) -> int:
    behind_name = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return int(behind_name[11]) + int(behind_name[12])  # utime and stime, fields 14 and 15 of proc(5)
