"""Limits of failed attempts to sign in, against guessing passwords.

An attempt is counted before the password is looked at and taken back when it was right: however many arrive at once, no more
passwords are tried than the limit says. Counters outlive the service's processes, on the host or in Redis, not the host itself.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import limits
from limits import RateLimitItem

from codyverse.errors import WrongCredentials
from codyverse.operations.limits.headers import standing
from codyverse.operations.limits.leases import Count, Exceeded, nobody_counts
from codyverse.operations.limits.tiers import Tiers
from config import Settings


class SignInLimits:
    """The three limits: of an account from an address, of an account from anywhere, of an address."""

    def __init__(self, settings: Settings, tiers: Tiers, address: Callable[[], str], count: Count = nobody_counts) -> None:
        self._tiers = tiers
        self._count = count
        self._address = address
        self._secret = settings.secret_key.encode()
        self._pair = limits.parse(settings.limit_sign_in)
        self._account = limits.parse(settings.limit_sign_in_account)
        self._of_address = limits.parse(settings.limit_sign_in_address)

    @contextmanager
    def attempt(self, email: str) -> Iterator[None]:
        """Count the block when it raises WrongCredentials, whether or not the account exists. Raises Exceeded before it begins.

        When it raises nothing, the account's failed attempts from this address are forgotten.
        """
        account = self.account(email)
        address = self._address()
        pair = ("sign-in", self._pair, self._pair.key_for("sign-in", address, account))
        others = [
            ("sign-in-account", self._account, self._account.key_for("sign-in-account", account, "all")),
            self._policy_of_address(address),
        ]
        self._reserve([pair, *others])
        try:
            yield
        except WrongCredentials:
            raise
        except BaseException:  # the password was right, or was not looked at
            self._give_back([pair, *others])
            raise
        self._tiers.clear_sliding_window(pair[2], pair[1].get_expiry())
        self._give_back(others)

    def registration(self) -> None:
        """Count a registration, which tells whether an address has an account as well. Raises Exceeded."""
        self._reserve([self._policy_of_address(self._address())])

    def account(self, email: str) -> str:
        """Return what stands for an e-mail address in the keys: nobody can read it there."""
        return f"email:{hmac.digest(self._secret, b'limits:' + email.lower().encode(), hashlib.sha256).hex()[:32]}"

    def _policy_of_address(self, address: str) -> tuple[str, RateLimitItem, str]:
        return "sign-in-address", self._of_address, self._of_address.key_for("sign-in-address", address, "all")

    def _reserve(self, policies: list[tuple[str, RateLimitItem, str]]) -> None:
        for i, (name, item, key) in enumerate(policies):
            if not self._tiers.acquire_with_spare(key, item.amount, item.get_expiry()):
                self._give_back(policies[:i])
                self._count(f"limit:{name}:refused", 1)
                raise Exceeded(standing(name, item, self._tiers.get_sliding_window(key, item.get_expiry())))
        for name, _, _ in policies:
            self._count(f"limit:{name}:allowed", 1)

    def _give_back(self, policies: list[tuple[str, RateLimitItem, str]]) -> None:
        for _, _, key in policies:
            self._tiers.release(key)
