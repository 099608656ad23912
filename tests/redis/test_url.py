"""Parsing URLs."""

from __future__ import annotations

import re
import socket
import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portfolio_trio.redis._url import Endpoint, is_cluster, parse_endpoints


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("redis://", Endpoint()),
        ("redis://h:1/2", Endpoint("h", 1, database=2)),
        ("redis://u:p%40@h", Endpoint("h", username="u", password="p@")),
        ("redis://:p@h?db=3", Endpoint("h", password="p", database=3)),
        ("redis://[::1]:7000", Endpoint("::1", 7000)),
        ("unix:///run/r.sock?db=1&password=x", Endpoint(path="/run/r.sock", password="x", database=1)),
    ],
)
def test_one_server(url: str, endpoint: Endpoint) -> None:
    assert parse_endpoints(url) == (endpoint,)


def test_a_system_without_unix_sockets_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "AF_UNIX")
    with pytest.raises(ValueError, match="no Unix sockets"):
        parse_endpoints("unix:///run/redis.sock")
    assert parse_endpoints("redis://h") == (Endpoint("h"),)


def test_a_cluster_names_several() -> None:
    found = parse_endpoints("redis+cluster://u:p@a:1,b:2,[::1]:3/?")
    assert [(e.host, e.port, e.username, e.password) for e in found] == [
        ("a", 1, "u", "p"), ("b", 2, "u", "p"), ("::1", 3, "u", "p"),
    ]  # fmt: skip
    assert is_cluster("redis+cluster://a")
    assert not is_cluster("redis://a")


def test_tls_checks_certificate_and_name_unless_told_otherwise() -> None:
    (strict,) = parse_endpoints("rediss://h")
    (loose,) = parse_endpoints("rediss://h?ssl_cert_reqs=none")
    assert strict.tls is not None
    assert strict.tls.verify_mode is ssl.CERT_REQUIRED
    assert strict.tls.check_hostname
    assert loose.tls is not None
    assert loose.tls.verify_mode is ssl.CERT_NONE


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://h", "starts with one of"),
        ("h:6379", "starts with one of"),
        ("redis://h/abc", "must be a number"),
        ("redis://h?sokket_timeout=1", "sokket_timeout"),
        ("redis://h?ssl_ca_certs=x", "ssl_ca_certs"),
        ("redis://h?db=x", "db"),
        ("rediss://h?ssl_ca_certs=/nowhere", "TLS options"),
        ("rediss://h?ssl_cert_reqs=perhaps", "TLS options"),
        ("rediss://h?ssl_colour=x", "TLS options"),
        ("unix://", "must name a socket"),
        ("redis+cluster://", "must name a node"),
        ("redis+cluster://a/1", "only database 0"),
    ],
)
def test_a_wrong_url_says_what_is_wrong(url: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_endpoints(url)


@pytest.mark.parametrize("scheme", ["redis", "rediss", "redis+cluster", "rediss+cluster"])
@pytest.mark.parametrize("mark", ["/", "#", "?", "/#", "a/b", "@/", "[", "]", "?x=", ":/"])
def test_a_password_that_is_not_encoded_is_said_so_and_not_printed(scheme: str, mark: str) -> None:
    with pytest.raises(ValueError, match="percent-encode the password") as refused:
        parse_endpoints(f"{scheme}://login:hunter{mark}secret@h:6379/0")
    assert not re.search("hunter|secret|login", str(refused.value))


@pytest.mark.parametrize("mark", ["/", "#", "?"])
def test_a_password_of_digits_is_not_taken_for_a_port(mark: str) -> None:
    """Otherwise a server other than the intended one would be used silently."""
    with pytest.raises(ValueError, match="percent-encode the password"):
        parse_endpoints(f"redis://:123{mark}secret@h:6379")


@given(
    st.sampled_from(["redis", "rediss", "redis+cluster", "unix"]),
    st.text("/#?@:[]%=&,. \\é1", max_size=5),
    st.text("/#?@:[]%=&,. \\é1", max_size=5),
    st.sampled_from(["@h:6379/0", "@h", "", "/0", "@"]),
)
def test_no_piece_of_a_password_is_ever_printed(scheme: str, before: str, behind: str, rest: str) -> None:
    """Nor of a login, nor of a password that was left without an @."""
    said = ""
    try:
        parse_endpoints(f"{scheme}://us3r:{before}s3cret{behind}{rest}")
    except ValueError as refused:
        said = str(refused)
    assert not re.search("us3r|s3cret", said)


@pytest.mark.parametrize(
    "url", ["redis://h?password=p%2F@q", "redis://h?username=a@b", "unix:///run/a@b.sock", "redis://:p%2Fs@h"]
)
def test_an_at_that_is_no_mistake_is_none(url: str) -> None:
    assert len(parse_endpoints(url)) == 1


def test_the_password_does_not_print() -> None:
    (endpoint,) = parse_endpoints("redis://:secret@h")
    assert "secret" not in repr(endpoint)
    assert "secret" not in endpoint.address
