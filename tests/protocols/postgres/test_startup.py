from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import pg_messages as some
from vestibule.analysis.sql.settings import FREE, RESTRICTED, judge
from vestibule.model.errors import ClientProtocolError
from vestibule.model.names import TargetName
from vestibule.model.target import Address, Credential, Target, TargetTls
from vestibule.protocols.postgres import messages as pg
from vestibule.protocols.postgres.codec import PROTOCOL_3_0, decode_first, encode
from vestibule.protocols.postgres.startup import Startup, application_name, read_startup, target_startup
from vestibule.wire.user import User

SESSION = UUID("0197f3a2-1111-7222-8333-444455556666")
TARGET = Target(
    TargetName("core"),
    "postgres",
    (Address("db", 5432),),
    ("core", "other"),
    ("public", 'odd"name'),
    TargetTls(),
    Credential("vestibule_rw", "file:secret"),
)


def read(version: int = PROTOCOL_3_0, user: str = "alice+core", /, **parameters: str) -> Startup:
    return read_startup(pg.StartupMessage(version, (("user", user), *parameters.items())))


def refused(*pairs: tuple[str, str], version: int = PROTOCOL_3_0) -> ClientProtocolError:
    with pytest.raises(ClientProtocolError) as caught:
        read_startup(pg.StartupMessage(version, pairs))
    return caught.value


def towards(startup: Startup) -> dict[str, str]:
    message = target_startup(startup, TARGET, "core", SESSION)
    assert message.version == PROTOCOL_3_0
    settings = dict(message.parameters)
    assert len(settings) == len(message.parameters)
    return settings


def test_psql_is_read():
    startup = read(application_name="psql", client_encoding="UTF8", database="alice+core")
    assert startup == Startup("alice+core", User("alice", "core"), "", "psql", (), (), (), None)


def test_a_database_is_kept_unless_it_is_the_whole_user_name():
    assert read(database="core").database == "core"
    assert read(database="alice").database == "alice"
    assert read(database="alice+core").database == ""
    assert read().database == ""


def test_a_user_name_is_required():
    for pairs in ([], [("user", "")], [("database", "core")]):
        assert refused(*pairs).code == "28000"


@pytest.mark.parametrize("encoding", ["UTF8", "utf8", "utf-8", "'utf-8'", "UTF_8", "unicode"])
def test_each_spelling_of_utf8_is_taken(encoding):
    assert read(client_encoding=encoding).settings == ()


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII", "", "utf16"])
def test_another_encoding_is_refused(encoding):
    assert refused(("user", "a"), ("client_encoding", encoding)).code == "0A000"


@pytest.mark.parametrize("value", ["true", "on", "1", "database", "yes", "", "t", "o"])
def test_replication_is_refused(value):
    error = refused(("user", "a"), ("replication", value))
    assert (error.code, str(error)) == ("0A000", "replication is not supported")


@pytest.mark.parametrize("value", ["false", "off", "OFF", "no", "0", "f", "of"])
def test_replication_that_is_declined_is_nothing(value):
    assert read(replication=value) == read()


@pytest.mark.parametrize(
    "key",
    [
        "role",
        "ROLE",
        "session_authorization",
        "session_preload_libraries",
        "standard_conforming_strings",
        "backslash_quote",
        "User",
        "Options",
        "vestibule",
        "",
    ],
)
def test_a_parameter_that_is_not_listed_is_refused_by_name(key):
    for pairs in ([(key, "x")], [("options", f"-c {key}=x")], [("options", f"--{key}=x")]):
        error = refused(("user", "a"), *pairs)
        assert error.code in ("42501", "42601")
        assert key.lower() in str(error)


@pytest.mark.parametrize("key", sorted(FREE | {"enable_seqscan", "geqo"}))
def test_what_set_may_change_a_session_may_begin_with_both_ways(key):
    if key.startswith("transaction_") and key != "transaction_timeout":
        assert "SET it once you are in" in str(refused(("user", "a"), (key, "on")))
        return
    for startup in (read(**{key.upper(): "on"}), read(options=f"-c {key}=on")):
        there = {name.lower(): value for name, value in towards(startup).items()}
        assert there[key] == ("on vestibule:0197f3a2" if key == "application_name" else "on")


@pytest.mark.parametrize("key", sorted(RESTRICTED))
def test_a_value_that_set_refuses_no_session_begins_with(key):
    assert judge(key, "$user") is not None
    assert refused(("user", "a"), (key, "$user")).code in ("42501", "0A000")
    assert refused(("user", "a"), ("options", f"-c {key}=$user")).code in ("42501", "0A000")


@pytest.mark.parametrize(("key", "value"), [("client_min_messages", "warning"), ("standard_conforming_strings", "on")])
def test_a_value_that_set_takes_is_the_one_that_reset_returns_to(key, value):
    assert towards(read(**{key: value}))[key] == value


def test_listed_parameters_pass_in_the_servers_spelling():
    startup = read(datestyle="ISO", TIMEZONE="UTC", statement_timeout="5s", extra_float_digits="2")
    assert dict(startup.settings) == {
        "DateStyle": "ISO",
        "TimeZone": "UTC",
        "statement_timeout": "5s",
        "extra_float_digits": "2",
    }


@pytest.mark.parametrize(
    ("options", "settings"),
    [
        ("", {}),
        (" \t ", {}),
        ("-c DateStyle=ISO", {"DateStyle": "ISO"}),
        ("-cDateStyle=ISO", {"DateStyle": "ISO"}),
        ("--DateStyle=ISO", {"DateStyle": "ISO"}),
        ("--statement-timeout=5", {"statement_timeout": "5"}),
        (r"-c DateStyle=ISO,\ MDY -c lock_timeout=1", {"DateStyle": "ISO, MDY", "lock_timeout": "1"}),
        (r"-c TimeZone=a\\b", {"TimeZone": "a\\b"}),
        ("-c TimeZone=a=b", {"TimeZone": "a=b"}),
        ("-c TimeZone=", {"TimeZone": ""}),
        ("-c TimeZone=one -c TimeZone=two", {"TimeZone": "two"}),
        ("-c TimeZone=ok\\", {"TimeZone": "ok"}),
    ],
)
def test_options_are_read_as_the_server_reads_them(options, settings):
    assert dict(read(options=options).settings) == settings


def test_a_parameter_wins_over_an_option():
    assert read(TimeZone="parameter", options="-c TimeZone=option").settings == (("TimeZone", "parameter"),)


@pytest.mark.parametrize("options", ["-d 5", "-c", "-c DateStyle", "--", "x", "-f", "--fsync", "-p5432", "-c role=x"])
def test_other_options_are_refused(options):
    assert refused(("user", "a"), ("options", options)).code in ("42501", "42601")


def test_what_is_meant_for_us_is_kept_from_the_target():
    startup = read(options="-c vestibule.ticket=CHG-1 -c vestibule.reason=a\\ b")
    assert startup.notes == (("ticket", "CHG-1"), ("reason", "a b"))
    assert not [key for key in towards(startup) if "vestibule" in key]


@pytest.mark.parametrize(
    ("value", "schemas"),
    [
        ("", ()),
        ("public", ("public",)),
        (' Public , "Two ""x""",three_3', ("public", 'Two "x"', "three_3")),
        ("\u00c4pfel", ("\u00c4pfel",)),
    ],
)
def test_a_search_path_names_schemas_as_the_server_reads_them(value, schemas):
    assert read(search_path=value).search_path == schemas
    assert read(options="-c search_path=" + value.replace(" ", "\\ ")).search_path == schemas


@pytest.mark.parametrize(
    "value", ['"$user"', '"$user", public', "$user", "a,", ",a", "a,,b", "a b", '"a', '""', "a;b", "1a"]
)
def test_a_search_path_that_names_no_schemas_literally_is_refused(value):
    assert refused(("user", "a"), ("search_path", value)).code == "42501"


def test_an_option_of_the_user_name_is_refused_by_name():
    error = refused(("user", "alice+core?oauth"))
    assert error.code == "0A000"
    assert "oauth" in str(error)


def test_a_parameter_given_twice_is_refused():
    assert refused(("user", "alice+core"), ("user", "mallory+core")).code == "08P01"


def test_a_newer_minor_version_or_an_unknown_protocol_option_is_negotiated_down():
    assert read(PROTOCOL_3_0).negotiation is None
    assert read(PROTOCOL_3_0 + 2).negotiation == pg.NegotiateProtocolVersion(196608, ())
    startup = read(PROTOCOL_3_0 + 9999, **{"_pq_.test_protocol_negotiation": "", "_pq_.b": "1"})
    assert startup.negotiation == pg.NegotiateProtocolVersion(196608, ("_pq_.test_protocol_negotiation", "_pq_.b"))
    assert startup.settings == ()


def test_another_major_version_is_refused():
    assert refused(("user", "a"), version=2 << 16).code == "0A000"


def test_the_target_is_told_the_pins_whatever_the_client_asked_for():
    settings = towards(read(DateStyle="German", client_encoding="utf-8", application_name="psql"))
    assert settings == {
        "user": "vestibule_rw",
        "database": "core",
        "application_name": "psql vestibule:0197f3a2",
        "DateStyle": "German",
        "IntervalStyle": "postgres",
        "client_encoding": "UTF8",
        "standard_conforming_strings": "on",
        "backslash_quote": "safe_encoding",
        "bytea_output": "hex",
        "xmlbinary": "base64",
        "client_min_messages": "notice",
        "search_path": '"public", "odd""name"',
    }


def test_the_clients_search_path_goes_before_the_targets():
    assert towards(read(search_path="one, Two"))["search_path"] == '"one", "two"'


@pytest.mark.parametrize(
    ("client", "name"),
    [
        ("", "vestibule:0197f3a2"),
        ("psql", "psql vestibule:0197f3a2"),
        ("x" * 100, "x" * 44 + " vestibule:0197f3a2"),
        ("\u00e4" * 100, "\u00e4" * 22 + " vestibule:0197f3a2"),
        ("x" + "\u00e4" * 100, "x" + "\u00e4" * 21 + " vestibule:0197f3a2"),
    ],
)
def test_the_application_name_ends_in_the_session_and_fits(client, name):
    assert application_name(client, SESSION) == name
    assert len(name.encode()) <= 63


@given(some.pairs, st.sampled_from(["", "-c ", "--", "-cDateStyle="]), some.names)
def test_any_parameters_are_read_or_refused_and_never_reach_further_than_the_list(pairs, prefix, options):
    message = pg.StartupMessage(PROTOCOL_3_0, (*pairs, ("user", "a+b"), ("options", prefix + options)))
    try:
        startup = read_startup(message)
    except ClientProtocolError:
        return
    written = encode(target_startup(startup, TARGET, "core", SESSION))
    sent = decode_first(written[4:])
    assert {key for key, _ in sent.parameters} <= {
        *towards(read()),
        "TimeZone",
        "extra_float_digits",
        "statement_timeout",
        "lock_timeout",
        "idle_in_transaction_session_timeout",
    }
    assert dict(sent.parameters)["user"] == "vestibule_rw"
