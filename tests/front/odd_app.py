"""The platform with routes that read a body, take their time, and end their thread."""

from __future__ import annotations

import sys
import time

from flask import request

from codyverse import create_app
from codyverse.http.auth import public

app = create_app()


@public
def echo() -> bytes:
    return request.get_data()


@public
def sleep() -> str:
    time.sleep(30)
    return "awake"


@public
def leave() -> str:
    sys.exit(3)


for view in (echo, sleep, leave):
    app.add_url_rule(f"/test/{view.__name__}", view_func=view, methods=["GET", "POST"])
