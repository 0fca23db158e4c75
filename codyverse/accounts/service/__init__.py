"""What accounts can do, for the edges and for the other domains."""

from codyverse.accounts.service.callers import Caller, caller_of_session, caller_of_token
from codyverse.accounts.service.profiles import create_user, read_profile, update_profile, version
from codyverse.accounts.service.sessions import list_sessions, revoke_session
from codyverse.accounts.service.signing_in import SignedIn, log_in, register
from codyverse.accounts.service.tokens import create_token, list_tokens, read_token, revoke_token

__all__ = [
    "Caller",
    "SignedIn",
    "caller_of_session",
    "caller_of_token",
    "create_token",
    "create_user",
    "list_sessions",
    "list_tokens",
    "log_in",
    "read_profile",
    "read_token",
    "register",
    "revoke_session",
    "revoke_token",
    "update_profile",
    "version",
]
