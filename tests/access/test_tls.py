"""The server's own TLS: supported versions, and errors about unusable files."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import trio
import trustme

from portfolio_trio.access import TlsError, ssl_context
from portfolio_trio.http import HttpServer, Request, Response
from tests.http.frames import plain_head, read_answer
from tests.http.memory_server import VIRTUAL_TIME
from tests.support.streams import read_to_end, stream_pair


class Files:
    """A certificate for localhost, its key, a stranger's key, and who signed them."""

    def __init__(self, directory: Path) -> None:
        self.authority = trustme.CA()
        self.certificate, self.key = self._issue(directory, "own")
        _, self.other_key = self._issue(directory, "other")
        self.directory = directory

    def _issue(self, directory: Path, name: str) -> tuple[Path, Path]:
        issued = self.authority.issue_cert("localhost")
        certificate, key = directory / f"{name}.pem", directory / f"{name}-key.pem"
        for index, blob in enumerate(issued.cert_chain_pems):
            blob.write_to_path(str(certificate), append=index > 0)
        issued.private_key_pem.write_to_path(str(key))
        return certificate, key


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files(tmp_path_factory.mktemp("tls"))


async def _health(_: Request) -> Response:
    return Response.json({"status": "ok"})


async def _nobody(_: object) -> None:
    raise AssertionError("no WebSocket was asked for")


async def _ask(server: ssl.SSLContext, client: ssl.SSLContext) -> tuple[int, str | None]:
    ours, theirs = stream_pair()
    http_server = HttpServer(routes={("GET", "/health"): _health}, websocket=_nobody)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(
            http_server.serve, trio.SSLStream(theirs, server, server_side=True, https_compatible=True)
        )
        stream = trio.SSLStream(ours, client, server_hostname="localhost", https_compatible=True)
        try:
            await stream.do_handshake()
            version = stream.version()
            await stream.send_all(plain_head(b"/health"))
            return read_answer(await read_to_end(stream)).status, version
        finally:
            await trio.aclose_forcefully(stream)


def _client(files: Files) -> ssl.SSLContext:
    context = ssl.create_default_context()
    files.authority.configure_trust(context)
    return context


@VIRTUAL_TIME
async def test_a_client_that_knows_the_authority_is_served(files: Files) -> None:
    status, version = await _ask(ssl_context(files.certificate, files.key), _client(files))
    assert (status, version) == (200, "TLSv1.3")


@VIRTUAL_TIME
async def test_tls_1_2_is_accepted(files: Files) -> None:
    client = _client(files)
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    assert await _ask(ssl_context(files.certificate, files.key), client) == (200, "TLSv1.2")


def test_older_versions_of_tls_are_refused(files: Files) -> None:
    context = ssl_context(files.certificate, files.key)
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.verify_mode is ssl.CERT_NONE


@VIRTUAL_TIME
async def test_a_client_that_does_not_know_the_authority_leaves(files: Files) -> None:
    with pytest.RaisesGroup(trio.BrokenResourceError):
        await _ask(ssl_context(files.certificate, files.key), ssl.create_default_context())


def _said(certificate: Path | str, key: Path | str) -> str:
    with pytest.raises(TlsError) as refused:
        ssl_context(certificate, key)
    said = str(refused.value)
    assert "\n" not in said
    return said


def test_a_file_that_is_not_there_is_named(files: Files) -> None:
    missing = files.directory / "nowhere.pem"
    assert (
        _said(missing, files.key)
        == f"the TLS certificate {missing} cannot be read: No such file or directory"
    )
    assert (
        _said(files.certificate, missing)
        == f"the TLS key {missing} cannot be read: No such file or directory"
    )
    assert "Is a directory" in _said(files.directory, files.key)


def test_a_key_of_another_certificate_is_named(files: Files) -> None:
    said = _said(files.certificate, files.other_key)
    assert said == f"the TLS key {files.other_key} does not belong to the certificate {files.certificate}"


@pytest.mark.parametrize(
    "content", [b"", b"no PEM", b"\x00\xff" * 100, b"-----BEGIN CERTIFICATE-----\nAAAA\n"]
)
def test_a_file_that_is_no_pem_is_named(files: Files, tmp_path: Path, content: bytes) -> None:
    broken = tmp_path / "broken.pem"
    broken.write_bytes(content)
    assert str(broken) in _said(broken, files.key)
    assert str(broken) in _said(files.certificate, broken)


def test_swapped_files_are_no_traceback(files: Files) -> None:
    assert "not a usable PEM file" in _said(files.key, files.certificate)


def test_an_encrypted_key_does_not_wait_at_the_terminal(files: Files, tmp_path: Path) -> None:
    serialization = pytest.importorskip("cryptography.hazmat.primitives.serialization")
    key = serialization.load_pem_private_key(files.key.read_bytes(), password=None)
    encrypted = tmp_path / "encrypted.pem"
    encrypted.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"open sesame"),
        )
    )
    assert "is encrypted" in _said(files.certificate, encrypted)


def test_paths_may_be_text(files: Files) -> None:
    ssl_context(str(files.certificate), str(files.key))
