"""Behind a real nginx: the signature holds for the URL that Twilio called, and for no other."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.channels.examples import inbound
from tests.fleet import free_port
from tests.journey.front import ACCOUNT_SID, NUMBER, TOKEN, message_sid, signature_of
from tests.lending import Databases
from tests.product import INBOUND, Product, establish

pytestmark = pytest.mark.skipif(
    shutil.which("nginx") is None and "CI" not in os.environ, reason="nginx is not installed"
)
HOST = "hooks.example.com"
#: How nginx hands on what it got; each is a location of the same server. Where it ends no TLS, it says that it did.
LOCATIONS = """
location /channels/ { proxy_pass UPSTREAM; proxy_set_header Host $host; proxy_set_header X-Forwarded-Proto https; }
location /recado/ {
    proxy_pass UPSTREAM/;
    proxy_set_header X-Forwarded-Proto https;
    proxy_set_header X-Forwarded-Host $host;
    proxy_set_header X-Forwarded-Prefix /recado;
}
location /port/ {
    proxy_pass UPSTREAM/;
    proxy_set_header X-Forwarded-Proto https;
    proxy_set_header X-Forwarded-Host $host;
    proxy_set_header X-Forwarded-Port 8443;
    proxy_set_header X-Forwarded-Prefix /port;
}
location /rfc7239/ {
    rewrite ^/rfc7239(/.*)$ $1 break;
    proxy_pass UPSTREAM;
    proxy_set_header Forwarded 'for=192.0.2.7;proto=https;host="hooks.example.com"';
}
location /plain/ { proxy_pass UPSTREAM/; proxy_set_header Host $host; }
location /tls/ {
    proxy_pass UPSTREAM/;
    proxy_set_header X-Forwarded-Proto $scheme;
    proxy_set_header X-Forwarded-Host $host;
    proxy_set_header X-Forwarded-Prefix /tls;
}
location /queryless/ {
    proxy_pass UPSTREAM/channels/twilio/v1/webhooks/inbound?;
    proxy_set_header Host $host;
    proxy_set_header X-Forwarded-Proto https;
}
"""


@dataclass(frozen=True, slots=True)
class Proxy:
    """nginx in front of an API."""

    url: str
    trust: ssl.SSLContext | bool = True

    def post(self, path: str, called: str, headers: dict[str, str] | None = None) -> int:
        """The status for a message that was signed for the URL `called` and posted to nginx under `path`."""
        fields = inbound("text", MessageSid=message_sid(), AccountSid=ACCOUNT_SID, To=NUMBER)
        given = {"Host": HOST, "X-Twilio-Signature": signature_of(called, TOKEN, fields), **(headers or {})}
        body = str(httpx2.QueryParams(list(fields)))
        given["Content-Type"] = "application/x-www-form-urlencoded"
        return httpx2.post(
            self.url + path, content=body.encode(), headers=given, timeout=20, verify=self.trust
        ).status_code


@pytest.fixture(scope="module")
def proxied(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Proxy]]:
    """nginx in front of two APIs: one that trusts its headers, one with a public URL."""
    from tests.conftest import SECRET_KEYS

    folder = tmp_path_factory.mktemp("nginx")
    by_headers = {"secret_keys": SECRET_KEYS, "public_url": None, "trusted_proxies": "127.0.0.1"}
    by_setting = {"secret_keys": SECRET_KEYS, "public_url": f"https://{HOST}/plain"}
    with (
        databases.one() as url,
        Product(url, folder / "a", by_headers, work=False) as trusting,
        Product(url, folder / "b", by_setting, work=False, simulator_url=trusting.simulator_url) as told,
    ):
        wiring = trusting.wiring
        assert wiring is not None
        trusting.call(lambda: establish(wiring, ACCOUNT_SID, TOKEN, NUMBER))
        ports = {"headers": free_port(), "setting": free_port(), "tls": free_port()}
        certificate = f"ssl_certificate {folder}/tls.pem; ssl_certificate_key {folder}/tls.pem;"
        trust = certify(folder / "tls.pem")
        listening = {name: f"listen 127.0.0.1:{port};" for name, port in ports.items()}
        listening["tls"] = f"listen 127.0.0.1:{ports['tls']} ssl; {certificate}"
        servers = "".join(
            f"server {{ {listening[name]} {LOCATIONS.replace('UPSTREAM', upstream)} }}"
            for name, upstream in (
                ("headers", trusting.base_url),
                ("setting", told.base_url),
                ("tls", trusting.base_url),
            )
        )
        process = start(folder, servers, ports.values())
        proxies = {name: Proxy(f"http://127.0.0.1:{port}") for name, port in ports.items()}
        yield proxies | {"tls": Proxy(f"https://127.0.0.1:{ports['tls']}", trust)}
        process.terminate()
        process.wait(10)


def certify(file: Path) -> ssl.SSLContext:
    """Write a key and a certificate of its own for it; answers a context that trusts this one alone."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, HOST)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    encoding, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    file.write_bytes(
        key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, plain) + certificate.public_bytes(encoding)
    )
    return ssl.create_default_context(cadata=certificate.public_bytes(encoding).decode())


def start(folder: Path, servers: str, ports: object) -> subprocess.Popen[bytes]:
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"daemon off; pid {folder}/pid; error_log {folder}/error.log; worker_processes 1;"
        f"events {{ worker_connections 64; }} http {{ access_log off; {temporary} {servers} }}"
    )
    process = subprocess.Popen(["nginx", "-c", str(folder / "nginx.conf"), "-p", str(folder)])
    deadline = time.monotonic() + 20
    for port in ports:  # type: ignore[attr-defined]
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert time.monotonic() < deadline, (folder / "error.log").read_text()
                time.sleep(0.02)
    return process


@pytest.mark.parametrize(
    ("path", "called"),
    [
        (INBOUND, f"https://{HOST}{INBOUND}"),
        (INBOUND + "?tenant=a%20b&x=%C3%A9&empty=", f"https://{HOST}{INBOUND}?tenant=a%20b&x=%C3%A9&empty="),
        ("/recado" + INBOUND, f"https://{HOST}/recado{INBOUND}"),
        ("/port" + INBOUND + "?a=1", f"https://{HOST}:8443/port{INBOUND}?a=1"),
        ("/rfc7239" + INBOUND, f"https://{HOST}{INBOUND}"),
    ],
)
def test_what_a_trusted_proxy_says_makes_the_url_that_twilio_called(
    proxied: dict[str, Proxy], path: str, called: str
) -> None:
    assert proxied["headers"].post(path, called) == 200


def test_a_public_url_needs_no_word_of_the_proxy_prefix_included(proxied: dict[str, Proxy]) -> None:
    assert proxied["setting"].post("/plain" + INBOUND + "?a=b%2Bc", f"https://{HOST}/plain{INBOUND}?a=b%2Bc") == 200
    assert proxied["setting"].post("/plain" + INBOUND, f"http://{HOST}/plain{INBOUND}") == 403


def test_the_scheme_of_a_proxy_that_ends_tls_itself_is_the_one_that_twilio_called(proxied: dict[str, Proxy]) -> None:
    assert proxied["tls"].post("/tls" + INBOUND, f"https://{HOST}/tls{INBOUND}") == 200
    assert proxied["tls"].post("/tls" + INBOUND, f"http://{HOST}/tls{INBOUND}") == 403
    assert proxied["headers"].post("/tls" + INBOUND, f"http://{HOST}/tls{INBOUND}") == 200
    assert proxied["headers"].post("/tls" + INBOUND, f"https://{HOST}/tls{INBOUND}") == 403


def test_what_the_caller_says_of_itself_does_not_count(proxied: dict[str, Proxy]) -> None:
    lies = {"X-Forwarded-Host": "evil.example.com", "Forwarded": "host=evil.example.com", "X-Forwarded-Prefix": "/evil"}
    assert proxied["headers"].post("/recado" + INBOUND, f"https://{HOST}/recado{INBOUND}", lies) == 200
    assert proxied["headers"].post("/recado" + INBOUND, f"https://evil.example.com/recado{INBOUND}", lies) == 403
    assert proxied["setting"].post("/plain" + INBOUND, f"https://evil.example.com/evil{INBOUND}", lies) == 403


@pytest.mark.parametrize(
    ("path", "called", "why"),
    [
        ("/plain" + INBOUND, f"https://{HOST}/plain{INBOUND}", "neither scheme nor prefix is handed on"),
        ("/queryless/?a=1", f"https://{HOST}{INBOUND}?a=1", "the query is lost"),
    ],
)
def test_a_proxy_that_hides_what_twilio_called_is_refused(
    proxied: dict[str, Proxy], path: str, called: str, why: str
) -> None:
    assert proxied["headers"].post(path, called) == 403, why
