"""One's own certificates: a database credential for programs that take a key and no password that changes.

The private key is made where it is used and never comes here. What a request says besides its key is not read.
"""

from __future__ import annotations

from functools import partial
from http import HTTPStatus
from uuid import UUID

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from vestibule.control.api.asking import Me, peer_of, sign_in_of
from vestibule.control.api.guarded import GuardedRoute, Problem, problems
from vestibule.control.api.tokens import TokenRequest, granted
from vestibule.identity.certificates import LONGEST, RequestRefused, read_request
from vestibule.model.names import SECOND, stamp

router = APIRouter(route_class=GuardedRoute, prefix="/api/v1", tags=["sign-in"])


class CertificateRequest(TokenRequest):
    """A certificate that is wanted."""

    request: str = Field(
        max_length=LONGEST,
        description="A certificate signing request (PKCS #10) in PEM, for a key on P-256 or P-384, or RSA of 2048 to "
        "4096 bits. Only its key counts.",
    )


class NewCertificate(BaseModel):
    """A certificate; it is no secret."""

    id: UUID = Field(description="The credential, as evidence names it; also the certificate's serial number.")
    certificate: str = Field(description="PEM.")
    authority: str = Field(description="The certificate of the gateway's authority for people, in PEM.")
    targets: list[str] | None
    expires_at: str


@router.post("/certificates", status_code=201, responses=problems(400, 401, 403, 404, 413, 422, 429, 503))
async def make_certificate(request: Request, wanted: CertificateRequest, identity: Me) -> NewCertificate:
    """Sign a certificate for whoever asks: it opens databases in place of a token, and ends with the log-in."""
    sign_in = sign_in_of(request)
    authority = sign_in.authority
    if authority is None:
        raise Problem(HTTPStatus.NOT_FOUND, "this gateway gives no certificates; use a token")
    targets = granted(sign_in, identity, wanted)
    try:
        key = read_request(wanted.request)
    except RequestRefused as refused:
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, str(refused)) from refused
    life = None if wanted.life is None else wanted.life * SECOND
    certified = await sign_in.service.certify(identity, partial(authority.sign, key), targets, life, peer_of(request))
    token = certified.token
    return NewCertificate(
        id=token.id,
        certificate=certified.pem,
        authority=authority.pem,
        targets=None if token.targets is None else [str(target) for target in sorted(token.targets)],
        expires_at=stamp(token.expires_at),
    )
