"""What accounts can do, for the edges and for the other domains."""

from codyverse.accounts.service.avatars import Swept, read_avatar, remove_avatar, replace_avatar, sweep_avatars
from codyverse.accounts.service.callers import Caller, Callers, caller_of_session, caller_of_token
from codyverse.accounts.service.profiles import create_user, read_profile, update_profile, version
from codyverse.accounts.service.roles import change_role
from codyverse.accounts.service.sessions import list_sessions, revoke_session, sign_out
from codyverse.accounts.service.signing_in import SignedIn, log_in, register
from codyverse.accounts.service.tokens import create_token, list_tokens, read_token, revoke_token

__all__ = [
    "Caller",
    "Callers",
    "SignedIn",
    "Swept",
    "caller_of_session",
    "caller_of_token",
    "change_role",
    "create_token",
    "create_user",
    "list_sessions",
    "list_tokens",
    "log_in",
    "read_avatar",
    "read_profile",
    "read_token",
    "register",
    "remove_avatar",
    "replace_avatar",
    "revoke_session",
    "revoke_token",
    "sign_out",
    "sweep_avatars",
    "update_profile",
    "version",
]
