"""What no log may hold is known by the name of its field, or by what it looks like."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codyverse.accounts.credentials import PREFIX, derive, new_nonce
from codyverse.operations import log_redaction
from codyverse.operations.log_redaction import LEFT_OUT, fields, text


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("a letter to ada@example.org failed", f"a letter to {LEFT_OUT} failed"),
        ("<ada.l+x@sub.example.org>", f"<{LEFT_OUT}>"),
        ("/learners/ada%40example.org/avatar", f"/learners/{LEFT_OUT}/avatar"),
        ("Authorization: Bearer abc.def", f"Authorization: Bearer {LEFT_OUT}"),
        ("Basic dXNlcg==", f"Basic {LEFT_OUT}"),
        ("redis://:secret@10.0.0.1:6379/0", f"redis://{LEFT_OUT}@10.0.0.1:6379/0"),
        ("GET /search?q=mine&token=1 failed", f"GET /search?{LEFT_OUT} failed"),
        ("/reset/cv_12345678", f"/reset/{LEFT_OUT}"),
    ],
)
def test_it_works(written: str, told: str) -> None:
    assert text(written) == told


@pytest.mark.parametrize(
    "harmless",
    [
        "a breaker opened: database",
        "SELECT a FROM b WHERE c = ? AND d=? LIMIT ?",
        "/api/v1/courses/introduction-to-machine-learning-for-teens-and-adults",
        "what is it? nothing",
        "3f2b8a1c9d0e-0000000a",
        "/media/machines/0f8fad5bd9cb469fa16570867728950e0f8fad5bd9cb469fa16570867728950e/dots.svg",
    ],
)
def test_the_rest_stays(harmless: str) -> None:
    assert text(harmless) == harmless


@given(before=st.sampled_from(["", "x ", "/", "'", "=", "\n"]), behind=st.sampled_from(["", " x", "/", "'", ",", "\n"]))
def test_secrets_of_ours_are_recognised_wherever_they_stand(before: str, behind: str) -> None:
    for secret in (derive("k" * 40, "session", new_nonce()), PREFIX + derive("k" * 40, "token", new_nonce())):
        if any(character.isdigit() for character in secret):  # but for one in 700
            assert secret not in text(before + secret + behind)


@pytest.mark.parametrize(
    "name",
    [
        *("password", "new_password", "token", "csrf_token", "Cookie", "set_cookie", "Authorization", "secret_key", "api_key"),
        *("email", "e_mail", "name", "display_name", "first_name", "username", "birth_date", "answer", "answers", "text", "body"),
        *("query", "headers", "json", "content", "message_text", "avatar_name"),
    ],
)
def test_fields_are_left_out_by_their_names(name: str) -> None:
    assert fields({name: "x"}) == {name: LEFT_OUT}
    assert fields({"inner": [{name: "x"}]}) == {"inner": [{name: LEFT_OUT}]}


def test_other_fields_stay() -> None:
    told = {
        "route": "/x",
        "ms": 1.5,
        "reason": None,
        "is_new": True,
        "counts": {"hits": 3},
        "event_name": "sign_in",
        "part": "cache",
    }
    assert fields(told) == told


def test_of_other_objects_the_kind_is_told() -> None:
    class Learner:
        def __repr__(self) -> str:
            return "Ada"

    assert fields({"who": Learner(), "raw": b"Ada", "all": {"Ada": Learner()}}) == {
        "who": "Learner",
        "raw": "bytes",
        "all": {"Ada": "Learner"},
    }


def test_what_never_ends_ends() -> None:
    loop: list[object] = []
    loop.append(loop)
    assert str(fields({"loop": loop})).count("[") == log_redaction.DEEPEST


@given(st.text(max_size=300))
def test_no_text_is_too_odd(odd: str) -> None:
    assert "ada@example.org" not in text(f"{odd} ada@example.org {odd}")
