"""Session tokens: JSON Web Tokens (RFC 7519) that open one session until they expire.

PyJWT signs and verifies: it is released often, has no dependencies for HMAC, and other languages can make its
tokens, so that a site may issue them after its own login. (itsdangerous has not been released since 2024;
joserfc needs the compiled package cryptography.) The algorithm is always HS256, so the algorithm in a token's
header, ``none`` included, has no effect. PyJWT compares signatures in constant time. Its own expiry check
only knows the system clock; the one here takes a clock.
"""

from __future__ import annotations

import hmac
import re
from enum import StrEnum
from typing import TYPE_CHECKING, Final, cast

import jwt
from typing_extensions import override

from portfolio_trio.access._refused import Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MIN_SECRET_BYTES: Final = 32
"""As long as the digest of HS256 (RFC 7518, section 3.2)."""

AUDIENCE: Final = "portfolio-trio"
"""Prevents tokens that other programs sign with the same secret from opening sessions here."""

MAX_TOKEN_CHARACTERS: Final = 2_048
"""Longer ones are refused without parsing."""

_ALGORITHM: Final = "HS256"
# 32 bytes of signature are 43 characters, and the last one has two unused bits. With either of them set, the
# text would be a different encoding of the same token.
_SHAPE: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]")


class SecretError(ValueError):
    """A secret cannot be used; the message is one line that says why, without the secret."""


class TokenFault(StrEnum):
    """What is wrong with a token."""

    MISSING = "token_missing"
    MALFORMED = "token_malformed"
    BAD_SIGNATURE = "token_bad_signature"
    EXPIRED = "token_expired"
    OTHER_SESSION = "token_other_session"


_DETAILS: Final[Mapping[TokenFault, str]] = {
    TokenFault.MISSING: "Get a token by POST /session; send it as Bearer, ?token= or in the first message.",
    TokenFault.MALFORMED: "This is not a token of this server; POST /session gives one.",
    TokenFault.BAD_SIGNATURE: "This token was not signed by this server; POST /session gives one.",
    TokenFault.EXPIRED: "The token has expired; POST /session gives a new one.",
    TokenFault.OTHER_SESSION: "The token belongs to another session; connect to that one.",
}


class TokenRefused(Refused):
    """A token does not open the session (HTTP 401, close code 1008).

    Attributes:
        fault: Why not.
    """

    def __init__(self, fault: TokenFault) -> None:
        # RFC 6750, section 3: a request without any token gets no error attribute.
        challenge = "Bearer" if fault is TokenFault.MISSING else 'Bearer error="invalid_token"'
        super().__init__(401, fault, _DETAILS[fault], headers=(("WWW-Authenticate", challenge),))
        self.fault = fault


class SessionTokens:
    """Issues and checks tokens.

    Args:
        secret: Signs; at least 32 bytes of UTF-8.
        older: Secrets that no longer sign but still verify: to change the secret, put the new one first and
            remove the old one when its last token has expired.
        ttl_seconds: How long a token opens its session.
        now: Seconds since the epoch.

    Raises:
        SecretError: A secret is too short, or looks like a public key.
    """

    def __init__(self, secret: str, *older: str, ttl_seconds: float, now: Callable[[], float]) -> None:
        self._secrets = (secret, *older)
        self._ttl_seconds = ttl_seconds
        self._now = now
        self._jwt = jwt.PyJWT()
        for each in self._secrets:
            check_secret(each)

    @override
    def __repr__(self) -> str:
        return f"<SessionTokens, {len(self._secrets)} secret(s)>"

    def issue(self, session_id: str) -> str:
        """Return a token that opens this session for ``ttl_seconds`` from now."""
        issued_at = int(self._now())
        claims = {
            "aud": AUDIENCE,
            "sub": session_id,
            "iat": issued_at,
            "exp": issued_at + int(self._ttl_seconds),
        }
        return self._jwt.encode(claims, self._secrets[0], _ALGORITHM)

    def check(self, token: str | None, session_id: str) -> None:
        """Return if the token opens the session.

        Raises:
            TokenRefused: It does not; ``fault`` says why. Expiry and a wrong session are reported only for
                tokens with a valid signature.
        """
        if not token:
            raise TokenRefused(TokenFault.MISSING)
        claims = self._read(token)
        if isinstance(claims, TokenFault):
            raise TokenRefused(claims)
        # `exp` is the first second in which the token is no longer valid (RFC 7519, section 4.1.4).
        if not self._now() < cast("float", claims["exp"]):
            raise TokenRefused(TokenFault.EXPIRED)
        if not hmac.compare_digest(_bytes(str(claims["sub"])), _bytes(session_id)):
            raise TokenRefused(TokenFault.OTHER_SESSION)

    def _read(self, token: str) -> Mapping[str, object] | TokenFault:
        if len(token) > MAX_TOKEN_CHARACTERS or not _SHAPE.fullmatch(token):
            return TokenFault.MALFORMED
        for secret in self._secrets:
            claims = self._verify(token, secret)
            if claims is not TokenFault.BAD_SIGNATURE:
                return claims
        return TokenFault.BAD_SIGNATURE

    def _verify(self, token: str, secret: str) -> Mapping[str, object] | TokenFault:
        """Return the fault instead of raising: PyJWT's exceptions quote the token."""
        try:
            claims: dict[str, object] = self._jwt.decode(
                token,
                secret,
                algorithms=[_ALGORITHM],
                audience=AUDIENCE,
                options={
                    "require": ["aud", "sub", "exp"],
                    "strict_aud": True,
                    "verify_exp": False,
                    "verify_iat": False,
                    "verify_nbf": False,
                },
            )
        except jwt.InvalidSignatureError:
            return TokenFault.BAD_SIGNATURE
        except jwt.InvalidTokenError:
            return TokenFault.MALFORMED
        return claims if type(claims["exp"]) in {int, float} else TokenFault.MALFORMED


def check_secret(secret: str) -> None:
    """Return if a secret can be used.

    Raises:
        SecretError: It is too short, or looks like a public key, which is not secret.
    """
    size = len(_bytes(secret))
    if size < MIN_SECRET_BYTES:
        raise SecretError(
            f"a secret must have at least {MIN_SECRET_BYTES} bytes, this one has {size}: make one with "
            "python -c 'import secrets; print(secrets.token_urlsafe(32))'"
        )
    try:
        jwt.encode({}, secret, _ALGORITHM)
    except (jwt.InvalidKeyError, UnicodeEncodeError):
        usable = False
    else:
        usable = True
    # Raised outside the handlers, because the exceptions above quote the secret.
    if not usable:
        raise SecretError("a secret must be random text; this one is a key file, a JWK or not UTF-8")


def split_secrets(text: str) -> tuple[str, ...]:
    """Read the secrets of a setting: one, or several separated by commas, of which the first signs.

    Raises:
        SecretError: One of them cannot be used.
    """
    secrets = tuple(part.strip() for part in text.split(","))
    for secret in secrets:
        check_secret(secret)
    return secrets


def _bytes(text: str) -> bytes:
    # JSON, like an environment variable, can contain half a surrogate pair, which is not valid in UTF-8.
    return text.encode(errors="surrogatepass")
