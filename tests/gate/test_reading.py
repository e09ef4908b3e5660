"""Reading a text: what it does and what its answer may show, remembered by all that it depends on."""

from __future__ import annotations

import pytest

from vestibule.analysis.sql import parser
from vestibule.analysis.sql.analyse import analyse
from vestibule.analysis.sql.catalog import Catalog
from vestibule.gate.reading import Knowledge, Named, Reader, read
from vestibule.masking.catalog import snapshot
from vestibule.masking.scene import Scene, Temporary
from vestibule.masking.sensitive import Sensitive, close
from vestibule.model.names import RuleName
from vestibule.model.plan import Form, Label, Plan, Transform
from vestibule.model.statement import Analysis, Parsed, Unknown, Unsupported

EMPTY = Catalog()
NOTHING = Knowledge(EMPTY)
ROWS = [
    ("relation", "16400", "public", "customers", "r", "", "16402"),
    ("column", "16400", "1", "id", "23", "-1", ""),
    ("column", "16400", "2", "ssn", "25", "-1", ""),
    ("relation", "16410", "public", "branches", "r", "", "16412"),
    ("column", "16410", "1", "city", "25", "-1", ""),
]
LABELS = (Label(RuleName("ssn"), ("*.customers.ssn",), Transform("keep", last=4)),)


def sensitive() -> Sensitive:
    return close(snapshot(ROWS), LABELS, parser.parse)


def masked(**changes: object) -> Knowledge:
    """A target with one masked column."""
    return Knowledge(EMPTY, Scene(sensitive(), **changes))  # type: ignore[arg-type] # the members of a scene


def one(text: str, knowledge: Knowledge, named: Named | None = None) -> Analysis:
    answer = read(text.encode(), knowledge, lambda _: named)
    assert isinstance(answer, Parsed), answer
    (analysis,) = answer.statements
    return analysis


def planned(text: str, knowledge: Knowledge | None = None, named: Named | None = None) -> Plan:
    analysis = one(text, knowledge or masked(), named)
    assert analysis.plan is not None, analysis.refusal
    return analysis.plan


def refused(text: str, knowledge: Knowledge | None = None, named: Named | None = None) -> Unsupported:
    analysis = one(text, knowledge or masked(), named)
    assert analysis.refusal is not None, analysis.plan
    return analysis.refusal


def test_where_nothing_is_masked_a_text_is_only_analysed() -> None:
    text = b"SELECT ssn FROM customers"
    assert read(text, NOTHING) == analyse(text, EMPTY)


def test_each_statement_of_a_text_gets_its_plan() -> None:
    answer = read(b"SELECT id FROM customers; SELECT ssn FROM customers", masked())
    assert isinstance(answer, Parsed)
    clean, plain = (analysis.plan for analysis in answer.statements)
    assert clean is not None
    assert plain is not None
    assert (clean.form, clean.columns, plain.form) == (Form.CLEAN, None, Form.PLAIN)
    assert plain.columns is not None
    assert [column.mask and column.mask.rule for column in plain.columns] == ["ssn"]


def test_what_masks_refuse_never_travels_and_says_why() -> None:
    refusal = refused("SELECT id FROM customers WHERE ssn = '1'")
    assert refusal.code == "42501"
    assert "customers.ssn is masked for you" in refusal.message


@pytest.mark.parametrize(
    "text", ["DO $$ BEGIN END $$", "SELECT pg_read_file('x')", "CALL p()", "SELECT own_function(1)"]
)
def test_what_is_not_understood_is_refused_where_columns_are_masked(text: str) -> None:
    assert refused(text).code == "42501"


def test_a_name_that_the_snapshot_lacks_is_asked_for_before_it_is_judged() -> None:
    assert read(b"SELECT * FROM nobody", masked()) == Unknown(("nobody",))
    assert isinstance(read(b"SELECT * FROM nobody", masked(is_fresh=True)), Parsed)


@pytest.mark.parametrize(
    ("prepared", "is_allowed"),
    [
        (b"PREPARE p AS SELECT id FROM customers", True),
        (b"SELECT id FROM customers", True),
        (b"SELECT ssn FROM customers", False),
        (b"SELECT id FROM customers WHERE ssn = $1", False),
        (b"SELEC", False),
    ],
)
def test_an_execute_is_judged_as_what_its_name_stands_for(prepared: bytes, is_allowed: bool) -> None:
    analysis = one("EXECUTE p", masked(), Named(prepared, None))
    assert (analysis.plan is not None) is is_allowed
    assert (analysis.refusal is None) is is_allowed


def test_an_execute_of_a_name_that_nobody_gave_is_refused() -> None:
    assert refused("EXECUTE p").code == "26000"


def test_rows_are_fetched_only_from_what_gives_no_masked_column() -> None:
    plain = planned("SELECT ssn FROM customers")
    assert planned("FETCH ALL FROM c", named=Named(b"", planned("SELECT id FROM customers"))).form is Form.CLEAN
    assert refused("FETCH ALL FROM c", named=Named(b"", plain)).code == "42501"
    assert refused("FETCH ALL FROM c").code == "34000"


def test_the_version_names_all_that_an_answer_depends_on() -> None:
    versions = {
        NOTHING.version,
        masked().version,
        masked(search_path=("audit",)).version,
        masked(temporaries={"t": Temporary()}).version,
        masked(is_fresh=True).version,
        Knowledge(Catalog(version="2"), masked().scene).version,
        Knowledge(EMPTY, Scene(close(snapshot(ROWS[:-1]), LABELS, parser.parse))).version,
        Knowledge(EMPTY, Scene(close(snapshot(ROWS), (), parser.parse))).version,
    }
    assert len(versions) == 8
    assert masked().version == masked().version


def test_what_depends_on_a_name_is_not_remembered() -> None:
    reader, knowledge = Reader(), masked()
    clean, plain = Named(b"SELECT id FROM customers", None), Named(b"SELECT ssn FROM customers", None)
    for named, is_allowed in ((clean, True), (plain, False), (clean, True)):
        answer = reader.read(b"EXECUTE p", knowledge, lambda _, named=named: named)  # type: ignore[misc]
        assert isinstance(answer, Parsed)
        assert (answer.statements[0].refusal is None) is is_allowed


def test_a_reader_answers_again_without_parsing_again(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = Reader()
    first = reader.read(b"SELECT 1", NOTHING)
    monkeypatch.setattr(parser, "parse", lambda text: pytest.fail("parsed again"))

    assert reader.read(bytes(bytearray(b"SELECT 1")), NOTHING) is first


def test_a_reader_tells_texts_and_catalogs_apart() -> None:
    reader = Reader()
    own = Knowledge(Catalog(user_functions=frozenset({"lower"}), version="2"))

    assert reader.read(b"SELECT lower('x')", NOTHING) == analyse(b"SELECT lower('x')", EMPTY)
    assert reader.read(b"SELECT lower('x')", own) == analyse(b"SELECT lower('x')", own.catalog)
    assert reader.read(b"SELECT lower('y')", own) == analyse(b"SELECT lower('y')", own.catalog)
    assert reader.read(b"SELECT lower('x')", NOTHING) == analyse(b"SELECT lower('x')", EMPTY)


def test_a_reader_forgets_what_was_asked_longest_ago(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = Reader(limit=4_500)
    texts = [b"SELECT %d" % at for at in range(3)]
    answers = [reader.read(text, NOTHING) for text in texts]

    assert reader.read(texts[0], NOTHING) is answers[0]
    reader.read(b"SELECT 3", NOTHING)

    assert reader.read(texts[0], NOTHING) is answers[0]
    assert reader.read(texts[1], NOTHING) is not answers[1]


def test_a_reader_does_not_keep_what_is_larger_than_its_room() -> None:
    reader = Reader(limit=5_000)
    kept = reader.read(b"SELECT 1", NOTHING)

    reader.read(b"SELECT '" + b"x" * 6_000 + b"'", NOTHING)

    assert reader.read(b"SELECT 1", NOTHING) is kept


def test_sessions_with_targets_alike_share_one_catalog_and_few_are_kept() -> None:
    reader = Reader()
    first = Catalog(version="1", user_functions=frozenset({"f"}))
    assert reader.shared(first) is first
    assert reader.shared(Catalog(version="1", user_functions=frozenset({"f"}))) is first
    for number in range(2, 100):
        reader.shared(Catalog(version=str(number)))
    again = Catalog(version="1")
    assert reader.shared(again) is again


def apart(shown: Scene | None = None, **changes: object) -> Knowledge:
    """A target of which less is stored than shown."""
    return Knowledge(EMPTY, shown, Scene(sensitive(), **changes))  # type: ignore[arg-type] # the members of a scene


def test_what_is_stored_has_a_plan_of_its_own_where_all_is_shown() -> None:
    analysis = one("SELECT ssn FROM customers", apart())

    assert (analysis.plan, analysis.refusal) == (None, None)
    assert analysis.stored == planned("SELECT ssn FROM customers")


@pytest.mark.parametrize(
    "text",
    [
        "SELECT upper(ssn) FROM customers",
        "SELECT id FROM customers WHERE ssn = '1'",
        "COPY customers TO STDOUT",
        "SELECT unheard_of(1)",
        "CREATE TABLE t (x int)",
    ],
)
def test_what_may_not_be_stored_is_not_refused(text: str) -> None:
    analysis = one(text, apart())

    assert (analysis.stored, analysis.refusal) == (None, None)


def test_a_name_that_only_storing_lacks_is_told_beside_the_answer() -> None:
    answer = read(b"SELECT 1; SELECT x FROM fresh", apart())

    assert isinstance(answer, Parsed)
    assert answer.is_lacking
    assert [analysis.stored is None for analysis in answer.statements] == [False, True]


def test_what_a_cursor_gives_is_stored_as_it_was_decided_when_it_was_declared() -> None:
    clean = one("SELECT id FROM customers", apart()).stored

    assert one("FETCH ALL FROM c", apart(), Named(b"", None, clean)).stored == clean
    assert one("FETCH ALL FROM c", apart(), Named(b"", None, None)).stored is None


def test_knowledge_for_storing_is_part_of_the_version() -> None:
    closed = apart(temporaries={"t": Temporary(is_closed=True)})

    assert len({NOTHING.version, masked().version, apart().version, closed.version}) == 4
    assert apart(temporaries={"t": Temporary()}).version != closed.version
