"""How gunicorn serves the bare twin: as it serves the platform, on the plain worker with threads whatever the platform's is."""

import runpy
from pathlib import Path

_platform = runpy.run_path(str(Path(__file__).parent.parent / "gunicorn.conf.py"))
_shared = ("bind", "workers", "threads", "worker_tmp_dir", "timeout", "graceful_timeout", "keepalive", "control_socket_disable")
globals().update({name: _platform[name] for name in _shared})

worker_class = "gthread"
loglevel = "warning"
