import re

from vestibule.identity.handover import authorization_request, challenge, new_verifier, token_request


def test_the_challenge_is_that_of_the_rfc() -> None:
    # RFC 7636, appendix B
    assert challenge("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk") == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


def test_a_verifier_has_the_form_of_the_rfc_and_is_new_every_time() -> None:
    made = {new_verifier() for _ in range(100)}

    assert len(made) == 100
    assert all(re.fullmatch(r"[A-Za-z0-9._~-]{43,128}", verifier) for verifier in made)


def test_the_verifier_travels_with_the_code_and_not_before() -> None:
    verifier = new_verifier()

    assert verifier not in authorization_request("http://127.0.0.1:1/", "state", verifier).values()
    assert token_request("http://127.0.0.1:1/", "code", verifier)["code_verifier"] == verifier
