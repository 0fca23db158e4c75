"""Who the client is that limits count: the account when there is one, so that a school behind one address is many clients.

And which program it says it is.
"""

from __future__ import annotations

from flask import request

from codyverse.database import UNUSABLE
from codyverse.http import auth
from codyverse.operations.limits import addresses


def client() -> str:
    """Return `account:17`, or what stands for the address of a request that nobody signed."""
    try:
        sender = auth.sender()
    except UNUSABLE:
        sender = None  # a view that needs to know will say so; the others still answer
    return f"account:{sender.user_id}" if sender else addresses.address()


def user_agent() -> str:
    """Return what the client calls itself, as people can read it."""
    return "".join(c for c in request.user_agent.string if c.isprintable())[:200]
