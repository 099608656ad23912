"""Tokens open one session, for a time, and nothing else does."""

from __future__ import annotations

import base64
import json
import logging
import traceback
from typing import Any

import jwt
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from portfolio_trio.access import (
    SecretError,
    SessionTokens,
    TokenFault,
    TokenRefused,
    new_session_id,
    split_secrets,
)
from portfolio_trio.http._upgrade import SESSION_ID
from tests.support.clock import ManualClock

SECRET = "a secret of this server, long enough for it"  # noqa: S105 - of servers that live for one test
OTHER = "a secret of another server, as long as that"
NOON = 1_800_000_000.0

session_ids = st.from_regex(SESSION_ID, fullmatch=True)
secrets = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=32, max_size=80)


def tokens(*all_secrets: str, clock: ManualClock | None = None, ttl_seconds: float = 60.0) -> SessionTokens:
    return SessionTokens(*(all_secrets or (SECRET,)), ttl_seconds=ttl_seconds, now=clock or ManualClock(NOON))


def fault(token: str | None, session_id: str = "mine", *, checker: SessionTokens | None = None) -> TokenFault:
    with pytest.raises(TokenRefused) as refused:
        (checker or tokens()).check(token, session_id)
    assert refused.value.status == 401
    return refused.value.fault


def forged(claims: dict[str, Any], *, secret: str = SECRET, **options: Any) -> str:
    return jwt.encode(claims, secret, **options)


def claims(**changes: Any) -> dict[str, Any]:
    changed = {"aud": "portfolio-trio", "sub": "mine", "exp": NOON + 60, **changes}
    return {name: value for name, value in changed.items() if value is not None}


# --- laws ---


@given(session_id=session_ids, secret=secrets)
def test_a_token_opens_its_own_session(session_id: str, secret: str) -> None:
    tokens(secret).check(tokens(secret).issue(session_id), session_id)


@given(mine=session_ids, yours=session_ids)
def test_a_token_opens_no_other_session(mine: str, yours: str) -> None:
    assume(mine != yours)
    assert fault(tokens().issue(yours), mine) is TokenFault.OTHER_SESSION


@given(secret=secrets, other=secrets)
def test_a_token_of_another_secret_opens_nothing(secret: str, other: str) -> None:
    assume(secret != other)
    token = tokens(secret).issue("mine")
    assert fault(token, checker=tokens(other)) is TokenFault.BAD_SIGNATURE


TOKEN = tokens().issue("mine")


@pytest.mark.parametrize("bit", range(7))
def test_any_flipped_bit_is_refused(bit: int) -> None:
    checker = tokens()
    for index, character in enumerate(TOKEN):
        changed = TOKEN[:index] + chr(ord(character) ^ 1 << bit) + TOKEN[index + 1 :]
        assert fault(changed, checker=checker) in {TokenFault.MALFORMED, TokenFault.BAD_SIGNATURE}


@given(st.integers(0, len(TOKEN)), st.text(min_size=1, max_size=4))
def test_anything_added_is_refused(index: int, text: str) -> None:
    assert fault(TOKEN[:index] + text + TOKEN[index:]) in {TokenFault.MALFORMED, TokenFault.BAD_SIGNATURE}


@pytest.mark.parametrize("padding", ["=", "==", "A", " ", "\n", ".", "!"])
def test_a_token_is_spelled_in_one_way(padding: str) -> None:
    """What some decoders of base64 overlook."""
    assert fault(TOKEN + padding) is TokenFault.MALFORMED
    assert fault(padding + TOKEN) in {TokenFault.MALFORMED, TokenFault.BAD_SIGNATURE}


@given(st.integers(0, len(TOKEN) - 1), st.integers(1, 8))
def test_anything_removed_is_refused(index: int, count: int) -> None:
    assert fault(TOKEN[:index] + TOKEN[index + count :]) in {TokenFault.MALFORMED, TokenFault.BAD_SIGNATURE}


@given(st.text())
def test_no_text_raises_anything_else(text: str) -> None:
    assert fault(text) in {TokenFault.MISSING, TokenFault.MALFORMED, TokenFault.BAD_SIGNATURE}


@given(st.floats(0, 1e6))
def test_a_token_lasts_exactly_its_time(age: float) -> None:
    clock = ManualClock(NOON)
    checker = tokens(clock=clock, ttl_seconds=500_000)
    token = checker.issue("mine")
    clock.time += age
    if clock.time < NOON + 500_000:
        checker.check(token, "mine")
    else:
        assert fault(token, checker=checker) is TokenFault.EXPIRED


def test_the_last_second_is_refused() -> None:
    clock = ManualClock(NOON)
    checker = tokens(clock=clock)
    token = checker.issue("mine")
    clock.time = NOON + 59.999
    checker.check(token, "mine")
    clock.time = NOON + 60
    assert fault(token, checker=checker) is TokenFault.EXPIRED


# --- rotation ---


def test_a_new_secret_signs_and_the_old_one_still_verifies() -> None:
    old, both, new = tokens(SECRET), tokens(OTHER, SECRET), tokens(OTHER)
    both.check(old.issue("mine"), "mine")
    new.check(both.issue("mine"), "mine")
    assert fault(both.issue("mine"), checker=old) is TokenFault.BAD_SIGNATURE
    assert fault(old.issue("mine"), checker=new) is TokenFault.BAD_SIGNATURE


def test_an_old_secret_does_not_outlive_expiry_or_session() -> None:
    clock = ManualClock(NOON)
    both = tokens(OTHER, SECRET, clock=clock)
    token = tokens(SECRET, clock=clock).issue("mine")
    assert fault(token, "yours", checker=both) is TokenFault.OTHER_SESSION
    clock.time += 60
    assert fault(token, checker=both) is TokenFault.EXPIRED


# --- forgeries ---


def test_no_token_is_missing() -> None:
    assert fault(None) is TokenFault.MISSING
    assert fault("") is TokenFault.MISSING


def _segment(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "", "HS512", "HS384", "RS256", None, 1, []])
def test_the_head_of_a_token_chooses_no_algorithm(algorithm: object) -> None:
    signature = TOKEN.rpartition(".")[2]
    head = _segment({"alg": algorithm, "typ": "JWT"})
    assert fault(f"{head}.{_segment(claims())}.{signature}") is TokenFault.MALFORMED
    assert fault(f"{head}.{_segment(claims())}.") is TokenFault.MALFORMED
    assert fault(f"{head}.{_segment(claims())}") is TokenFault.MALFORMED


@pytest.mark.parametrize("algorithm", ["HS384", "HS512"])
def test_longer_digests_are_refused_too(algorithm: str) -> None:
    secret = SECRET * 2
    token = forged(claims(), secret=secret, algorithm=algorithm)
    assert fault(token, checker=tokens(secret)) is TokenFault.MALFORMED


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": None}, {"sub": None}, {"exp": None},
        {"aud": "another-program"}, {"aud": ["portfolio-trio", "another-program"]}, {"aud": 1},
        {"sub": 1}, {"sub": ["mine"]},
        {"exp": "2100-01-01"}, {"exp": str(int(NOON + 60))}, {"exp": True}, {"exp": [NOON + 60]},
    ],
)  # fmt: skip
def test_signed_claims_have_to_be_whole(changes: dict[str, Any]) -> None:
    assert fault(forged(claims(**changes))) is TokenFault.MALFORMED


def test_signed_claims_of_ones_own_making_are_taken() -> None:
    tokens().check(forged(claims()), "mine")
    tokens().check(forged(claims(exp=int(NOON) + 60, iss="our shop", roles=["trader"])), "mine")


def test_a_time_that_is_no_number_is_over() -> None:
    assert fault(forged(claims(exp=float("nan")))) is TokenFault.EXPIRED
    assert fault(forged(claims(exp=-float("inf")))) is TokenFault.EXPIRED


def test_half_a_surrogate_is_just_another_session() -> None:
    assert fault(forged(claims(sub="\ud800"))) is TokenFault.OTHER_SESSION


def test_a_huge_token_is_not_even_decoded() -> None:
    assert fault(forged(claims(padding="x" * 3_000))) is TokenFault.MALFORMED


# --- secrecy ---


@pytest.mark.parametrize("token", [TOKEN, TOKEN[:-8] + "AAAAAAAA", TOKEN[3:], "no token at all"])
def test_error_texts_contain_neither_token_nor_secret(token: str, caplog: pytest.LogCaptureFixture) -> None:
    checker = tokens(OTHER, SECRET)
    with caplog.at_level(logging.DEBUG), pytest.raises(TokenRefused) as refused:
        checker.check(token, "yours")
    error = refused.value
    assert error.__context__ is None, "a token may be quoted in there"
    said = "".join(traceback.format_exception(error)) + repr(error) + repr(error.__dict__) + repr(checker)
    for secret in (token, SECRET, OTHER):
        assert secret not in said + caplog.text


def test_the_answer_has_its_challenge() -> None:
    for token, challenge in ((None, "Bearer"), ("x", 'Bearer error="invalid_token"')):
        with pytest.raises(TokenRefused) as refused:
            tokens().check(token, "mine")
        assert refused.value.headers == (("WWW-Authenticate", challenge),)


# --- secrets ---


@pytest.mark.parametrize("secret", ["", "x" * 31, "\u00e9" * 15 + "x"])
def test_a_short_secret_is_refused_in_one_line(secret: str) -> None:
    with pytest.raises(SecretError, match="at least 32 bytes") as refused:
        tokens(secret)
    assert "\n" not in str(refused.value)
    assert not secret or secret not in str(refused.value)
    with pytest.raises(SecretError):
        tokens(SECRET, secret)


@pytest.mark.parametrize(
    "secret",
    [
        "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQ\n-----END PUBLIC KEY-----\n",
        "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABgQDx someone@somewhere",
        "no UTF-8 \udcff, as an environment variable can hold",
    ],
)
def test_what_is_no_secret_is_refused(secret: str) -> None:
    with pytest.raises(SecretError, match="random text") as refused:
        tokens(secret)
    assert refused.value.__context__ is None


def test_secrets_are_counted_in_bytes() -> None:
    tokens("\u00e9" * 16)


def test_a_setting_holds_several_secrets() -> None:
    assert split_secrets(SECRET.replace(",", "")) == (SECRET.replace(",", ""),)
    assert split_secrets(f"{'x' * 32}, {'y' * 32}") == ("x" * 32, "y" * 32)
    for text in ("", ",", f"{'x' * 32},", f"{'x' * 32},short"):
        with pytest.raises(SecretError):
            split_secrets(text)


# --- session ids ---


def test_session_ids_are_128_bits_and_fit_a_path() -> None:
    drawn = {new_session_id() for _ in range(1_000)}
    assert len(drawn) == 1_000
    for session_id in drawn:
        assert SESSION_ID.fullmatch(session_id)
        assert len(base64.urlsafe_b64decode(session_id + "==")) == 16
    # Every bit is drawn: each of them is set in some and not in others.
    numbers = [int.from_bytes(base64.urlsafe_b64decode(each + "==")) for each in drawn]
    assert all(0 < sum(number >> bit & 1 for number in numbers) < 1_000 for bit in range(128))
