"""An OpenID provider that does whatever a test asks for: a real local server that signs anything.

It answers discovery, keys, token and user info; `answers` replaces any of them, `requests` names every path that was
asked for. `sign` makes tokens by hand, so that a library's good manners do not get in the way.
"""

from __future__ import annotations

import datetime
import hashlib
import hmac
import ipaddress
import json
import ssl
import threading
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.x509.oid import NameOID

CLIENT_ID, CLIENT_SECRET = "vestibule", "the client's secret"
NONCE = "the-nonce-of-this-log-in"
ABSENT = object()

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key pair with its id."""

    private: PrivateKey
    kid: str | None

    def jwk(self, **members: object) -> dict[str, object]:
        """The public half as a JWK; `members` are added or, with `ABSENT`, left out."""
        public = self.private.public_key()
        match public:
            case rsa.RSAPublicKey():
                numbers = public.public_numbers()
                form = {"kty": "RSA", "n": b64(_bytes(numbers.n)), "e": b64(_bytes(numbers.e))}
            case ec.EllipticCurvePublicKey():
                point = public.public_numbers()
                size = (public.curve.key_size + 7) // 8
                crv = {256: "P-256", 384: "P-384", 521: "P-521"}[public.curve.key_size]
                form = {"kty": "EC", "crv": crv, "x": b64(_bytes(point.x, size)), "y": b64(_bytes(point.y, size))}
            case _:
                form = {"kty": "OKP", "crv": "Ed25519", "x": b64(public.public_bytes_raw())}
        named = {} if self.kid is None else {"kid": self.kid}
        return {
            name: value for name, value in {**form, "use": "sig", **named, **members}.items() if value is not ABSENT
        }

    @property
    def public_pem(self) -> bytes:
        """The public half as PEM, which the classic confusion uses as an HMAC secret."""
        return self.private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )


@cache
def rsa_key(kid: str | None = "key-1", bits: int = 2048) -> SigningKey:
    """An RSA key; the same one for the same arguments."""
    return SigningKey(rsa.generate_private_key(65537, bits), kid)


@cache
def ec_key(kid: str | None = "key-ec", curve: str = "P-256") -> SigningKey:
    """A key on a NIST curve."""
    curves: dict[str, ec.EllipticCurve] = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1()}
    return SigningKey(ec.generate_private_key(curves[curve]), kid)


@cache
def ed_key(kid: str | None = "key-ed") -> SigningKey:
    """An Ed25519 key."""
    return SigningKey(ed25519.Ed25519PrivateKey.generate(), kid)


def b64(data: bytes) -> str:
    """Encode as base64url without padding."""
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def jws(
    header: bytes | Mapping[str, object], payload: bytes | Mapping[str, object], sign: Callable[[bytes], bytes]
) -> str:
    """Put a compact token together, whatever its parts say; bytes go in as they are."""
    parts = [part if isinstance(part, bytes) else json.dumps(part).encode() for part in (header, payload)]
    head = ".".join(b64(part) for part in parts)
    return f"{head}.{b64(sign(head.encode()))}"


def signature(key: SigningKey, algorithm: str, data: bytes) -> bytes:
    """Sign as `algorithm` says."""
    digest = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}.get(
        algorithm[-3:], hashes.SHA256()
    )
    match key.private:
        case rsa.RSAPrivateKey() as private if algorithm.startswith("PS"):
            return private.sign(data, padding.PSS(padding.MGF1(digest), digest.digest_size), digest)
        case rsa.RSAPrivateKey() as private:
            return private.sign(data, padding.PKCS1v15(), digest)
        case ec.EllipticCurvePrivateKey() as private:
            size = (private.curve.key_size + 7) // 8
            r, s = decode_dss_signature(private.sign(data, ec.ECDSA(digest)))
            return _bytes(r, size) + _bytes(s, size)
        case private:
            return private.sign(data)


def signed(
    claims: bytes | Mapping[str, object], key: SigningKey | None = None, algorithm: str = "RS256", **header: object
) -> str:
    """Sign claims with `key`; header members are added, replaced, or with `ABSENT` left out."""
    key = key or rsa_key()
    named = {} if key.kid is None else {"kid": key.kid}
    members = {"alg": algorithm, "typ": "JWT", **named, **header}
    chosen = {name: value for name, value in members.items() if value is not ABSENT}
    return jws(chosen, claims, lambda data: signature(key, algorithm, data))


def unsigned(claims: Mapping[str, object], algorithm: str = "none") -> str:
    """Make a token that claims to need no signature."""
    return jws({"alg": algorithm, "typ": "JWT"}, claims, lambda _: b"")


def hmac_signed(claims: Mapping[str, object], secret: bytes, kid: str | None = "key-1") -> str:
    """Sign with HS256, for example with a public key as the secret."""
    header = {"alg": "HS256", "typ": "JWT", "kid": kid}
    return jws(header, claims, lambda data: hmac.digest(secret, data, hashlib.sha256))


@dataclass(slots=True)
class Reply:
    """An answer of the server's; `delay` is waited first, `drip` sends a byte at a time."""

    body: bytes | Mapping[str, object] = b"{}"
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0
    drip: float = 0


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as it arrived."""

    method: str
    path: str
    body: bytes
    headers: Mapping[str, str]

    @property
    def form(self) -> Mapping[str, str]:
        """The body as a form."""
        return {name: values[0] for name, values in parse_qs(self.body.decode()).items()}


@dataclass
class HostileIssuer:
    """The server; use it in a `with` statement. Plain http on loopback unless `certificate` (PEM, key behind it)."""

    certificate: Path | None = None
    answers: dict[str, Reply] = field(default_factory=dict)
    requests: list[Asked] = field(default_factory=list)
    keys: list[SigningKey] = field(default_factory=lambda: [rsa_key()])
    id_token: str = ""
    access_token: str = "an-access-token"
    user_info: dict[str, object] = field(default_factory=dict)
    _server: ThreadingHTTPServer | None = None
    _closing: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> HostileIssuer:
        """Serve on a free port of 127.0.0.1."""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        if self.certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self.certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop serving."""
        assert self._server is not None
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()

    @property
    def issuer(self) -> str:
        """Its issuer, which is its address."""
        assert self._server is not None
        scheme = "http" if self.certificate is None else "https"
        return f"{scheme}://127.0.0.1:{self._server.server_address[1]}"

    @property
    def paths(self) -> list[str]:
        """The paths that were asked for, in order."""
        return [asked.path for asked in self.requests]

    def metadata(self, **members: object) -> dict[str, object]:
        """Its discovery document; members are replaced, or with `ABSENT` left out."""
        document = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/jwks",
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
        }
        return {name: value for name, value in {**document, **members}.items() if value is not ABSENT}

    def claims(self, **members: object) -> dict[str, object]:
        """Good claims of an ID token; members are replaced, or with `ABSENT` left out."""
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "aud": CLIENT_ID,
            "sub": "u-dev1",
            "exp": now + 300,
            "iat": now,
            "nonce": NONCE,
            "preferred_username": "dev1",
            "groups": ["engineering"],
        }
        return {name: value for name, value in {**claims, **members}.items() if value is not ABSENT}

    def give(self, **members: object) -> None:
        """Give a well-signed token with these claims for the next code."""
        self.id_token = signed(self.claims(**members))

    def reply(self, path: str) -> Reply:
        """Answer a request for `path`."""
        if path in self.answers:
            return self.answers[path]
        match path:
            case "/.well-known/openid-configuration":
                return Reply(self.metadata())
            case "/jwks":
                return Reply({"keys": [key.jwk() for key in self.keys]})
            case "/token":
                tokens = {"access_token": self.access_token, "id_token": self.id_token, "token_type": "Bearer"}
                return Reply({name: value for name, value in tokens.items() if value})
            case "/userinfo":
                return Reply(self.user_info)
            case _:
                return Reply(status=404)

    def wait(self, seconds: float) -> None:
        """Wait, but not beyond the end of the test."""
        self._closing.wait(seconds)


def _handler(issuer: HostileIssuer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 10

        def do_GET(self) -> None:
            self._answer("GET", b"")

        def do_POST(self) -> None:
            self._answer("POST", self.rfile.read(int(self.headers.get("Content-Length", "0"))))

        def _answer(self, method: str, sent: bytes) -> None:
            path = urlsplit(self.path).path
            issuer.requests.append(Asked(method, path, sent, dict(self.headers.items())))
            reply = issuer.reply(path)
            body = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
            issuer.wait(reply.delay)
            try:
                self._write(reply, body)
            except OSError:
                self.close_connection = True

        def _write(self, reply: Reply, body: bytes) -> None:
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            for piece in [body] if not reply.drip else [body[at : at + 1] for at in range(len(body))]:
                issuer.wait(reply.drip)
                self.wfile.write(piece)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
            """Say nothing."""

    return Handler


def self_signed(folder: Path) -> Path:
    """Make one file with key and certificate for 127.0.0.1."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "issuer")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = folder / "issuer.pem"
    path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    return path


def _bytes(number: int, size: int | None = None) -> bytes:
    return number.to_bytes(size or (number.bit_length() + 7) // 8)
