"""TLS to a real server: certificates are checked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from portfolio_trio.redis import open_redis
from portfolio_trio.redis.errors import CannotConnect
from tests.support.redis_servers import Command, Server, free_port, path_commands, private_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

trustme = pytest.importorskip("trustme")

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(directory / "ca.pem"))
    certificate = authority.issue_cert("localhost")
    certificate.private_key_pem.write_to_path(str(directory / "key.pem"))
    certificate.cert_chain_pems[0].write_to_path(str(directory / "cert.pem"))
    return directory


@pytest.fixture(scope="module")
def tls_server(files: Path, command: Command) -> Iterator[Server]:
    port = free_port()
    options = (
        "--tls-port", str(port), "--tls-auth-clients", "optional",
        "--tls-ca-cert-file", str(files / "ca.pem"),
        "--tls-cert-file", str(files / "cert.pem"), "--tls-key-file", str(files / "key.pem"),
    )  # fmt: skip
    for candidate in dict.fromkeys([*path_commands(), command]):
        try:
            with private_server(candidate, *options) as server:
                server.port = port
                yield server
                return
        except RuntimeError:
            continue
    pytest.skip("no Redis server with TLS here")


async def test_a_trusted_certificate_is_accepted(tls_server: Server, files: Path) -> None:
    async with open_redis(f"rediss://localhost:{tls_server.port}?ssl_ca_certs={files / 'ca.pem'}") as client:
        value = "x" * 300_000
        assert await client.set("k", value)
        assert await client.get("k") == value.encode()


async def test_an_unknown_certificate_is_refused(tls_server: Server) -> None:
    with pytest.raises(CannotConnect, match=r"TLS with .* failed: .*certificate"):
        async with open_redis(f"rediss://localhost:{tls_server.port}"):
            pytest.fail("a certificate nobody vouches for was taken")


async def test_a_certificate_of_another_host_is_refused(tls_server: Server, files: Path) -> None:
    authority = files / "ca.pem"
    with pytest.raises(CannotConnect, match="TLS with"):
        async with open_redis(f"rediss://127.0.0.1:{tls_server.port}?ssl_ca_certs={authority}"):
            pytest.fail("a certificate for another name was taken")
    url = f"rediss://127.0.0.1:{tls_server.port}?ssl_ca_certs={authority}&ssl_check_hostname=false"
    async with open_redis(url) as client:
        assert await client.ping()
