from vestibule.protocols.postgres import messages as pg


def test_no_secret_is_in_a_repr():
    shown = [
        repr(pg.PasswordMessage(b"hunter2")),
        repr(pg.SASLInitialResponse("SCRAM-SHA-256", b"hunter2")),
        repr(pg.SASLResponse(b"hunter2")),
        repr(pg.CancelRequest(7, b"hunter2")),
        repr(pg.BackendKeyData(7, b"hunter2")),
    ]
    assert not [text for text in shown if "hunter2" in text]


def test_the_first_field_of_a_code_is_its_text():
    fields = (("C", "42501"), ("M", "no"), ("M", "again"))
    assert pg.ErrorResponse(fields).text("M") == "no"
    assert pg.NoticeResponse(fields).text("C") == "42501"
    assert pg.ErrorResponse(fields).text("H") == ""
