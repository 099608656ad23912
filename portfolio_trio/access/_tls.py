"""TLS of the server itself, if no proxy in front provides it."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from os import PathLike


class TlsError(Exception):
    """The certificate or its key cannot be used; the message is one line that says which and why."""


class _Encrypted(Exception):  # noqa: N818 - never leaves this module
    """The key needs a password."""


def ssl_context(certfile: str | PathLike[str], keyfile: str | PathLike[str]) -> ssl.SSLContext:
    """Return the context of a server: TLS 1.2 or later, no client certificates, HTTP/1.1.

    Args:
        certfile: PEM: the server's certificate, then the intermediate ones.
        keyfile: PEM: its private key, not encrypted.

    Raises:
        TlsError: A file cannot be read or is not PEM, or the key belongs to another certificate.
    """
    for name, path in (("certificate", certfile), ("key", keyfile)):
        _check_readable(name, path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(certfile, keyfile, password=_refuse_password)
    except _Encrypted:
        raise TlsError(f"the TLS key {keyfile} is encrypted; store it without a password") from None
    except ssl.SSLError as error:
        raise TlsError(_explain(error, certfile, keyfile)) from None
    return context


def _check_readable(name: str, path: str | PathLike[str]) -> None:
    try:
        with open(path, "rb"):  # noqa: PTH123 - a path may be text
            pass
    except OSError as error:
        raise TlsError(f"the TLS {name} {path} cannot be read: {error.strerror}") from None


def _refuse_password() -> NoReturn:
    """Without this OpenSSL would ask at the terminal and wait."""
    raise _Encrypted


def _explain(error: ssl.SSLError, certfile: str | PathLike[str], keyfile: str | PathLike[str]) -> str:
    if error.reason == "KEY_VALUES_MISMATCH":
        return f"the TLS key {keyfile} does not belong to the certificate {certfile}"
    return f"the TLS certificate {certfile} or its key {keyfile} is not a usable PEM file: {error.reason}"
