"""psql in depth: what it shows and does through the gateway, held against what it does at the server itself."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator

import pytest

from tests.support import zoo
from tests.support.evidence import Journal
from tests.support.gateway import TARGET, Gateway, GatewayFactory
from tests.support.postgres import DATABASE, PostgresServer
from tests.support.side_by_side import MASKS, MODERN, Sides, opening, serve
from tests.support.signing_in import SignedIn, sign_in

#: Much is asked at once, of a machine that may be busy.
pytestmark = pytest.mark.timeout(400)

ZOO, ANNEX, CLOSED = "zoo_psql", "annex_psql", "closed_psql"

#: Commands that list something; each is given with and without `S` and `+`.
LISTS = r"""
\d \da \dA \dAc \dAf \dAo \dAp \db \dc \dC \dd \dD \ddp \dE \det \des \deu \dew \df \dF \dFd \dFp \dFt \dg \di \dl \dL
\dm \dn \do \dO \dp \drds \dRp \dRs \ds \dt \dT \du \dv \dx \dX \dy \l \z \dP \dPt \dPi \dPn
"""
#: Commands about one thing, or with a pattern.
DETAILS = r"""
\d zoo.animals
\d+ zoo.*
\d+ zoo.big
\d+ zoo.per_keeper
\d+ zoo.visits
\d+ zoo.tickets
\d zoo.animals_lower
\d+ zoo.away
\dt+ zoo.*
\dT+ zoo.*
\df zoo.*
\df+ zoo.*
\df zoo.double integer
\dD+ zoo.*
\do+ zoo.*
\da+ zoo.*
\dO+ zoo.*
\dFd+ zoo.*
\dF+ zoo.*
\ds+ zoo.*
\dp zoo.*
\dd zoo.*
\dX zoo.*
\di+ zoo.*
\dm+ zoo.*
\dv+ zoo.*
\dPn+ zoo.*
\d pg_class
\d+ pg_stats
\d *.customers
\d+ information_schema.columns
\dt *.animals
\dt nowhere.*
\d nothing
\sf zoo.double
\sf+ zoo.note
\sv zoo.big
\sv+ zoo.big
\dconfig DateStyle
\lo_list
"""
COMMANDS = [
    *(command + more for command in LISTS.split() for more in ("", "+", "S", "S+")),
    *DETAILS.strip().splitlines(),
]
#: What shows the source of functions or secrets is refused where anything is masked: both can hold values.
SOURCES = {r"\df+", r"\dfS+", r"\df+ zoo.*", r"\sf zoo.double", r"\sf+ zoo.note"}
SECRETS = {r"\deu+", r"\deuS+", r"\dRs+", r"\dRsS+"}
REFUSED = re.compile(
    r"ERROR:  vestibule: \S+ (can give values that are|is) masked for you|ERROR:  insufficient privilege"
)


@pytest.fixture(scope="module")
def servers(postgres15: PostgresServer, postgres18: PostgresServer) -> Iterator[dict[str, PostgresServer]]:
    """Both servers, with a zoo, an annex that the policy opens, and a database that it does not."""
    made = {TARGET: postgres15, MODERN: postgres18}
    for server in made.values():
        zoo.build(server, ZOO)
        for name in (ANNEX, CLOSED):
            server.create_database(name)
    yield made
    for server in made.values():
        for name in (ZOO, ANNEX, CLOSED):
            server.drop_database(name)


@pytest.fixture(scope="module")
def both(module_gateways: GatewayFactory, servers: dict[str, PostgresServer]) -> Gateway:
    """A gateway to either server."""
    return serve(module_gateways, *servers.values(), opening(ZOO, ANNEX))


@pytest.fixture(scope="module")
def dev(both: Gateway) -> SignedIn:
    """dev1, who may read and write."""
    return sign_in(both, "dev1")


@pytest.fixture(scope="module", params=[TARGET, MODERN])
def target(request: pytest.FixtureRequest) -> str:
    """Either target."""
    return request.param


@pytest.fixture
def sides(both: Gateway, servers: dict[str, PostgresServer], dev: SignedIn, target: str) -> Sides:
    """dev1's way to the zoo, and the direct one."""
    return Sides(both, servers[target], dev, target, ZOO)


def shown(sides: Sides, commands: list[str], *, directly: bool) -> dict[str, list[str]]:
    """Let psql carry out each command; give what it printed for each, errors included."""
    psql = sides.direct() if directly else sides.through()
    script = "".join(f"\\echo @@@{number}\n{command}\n" for number, command in enumerate(commands))
    done = psql.program(["sh", "-c", "exec psql -X 2>&1"], typed=script, timeout=240)
    parts = re.split(r"^@@@\d+\n", done.output, flags=re.MULTILINE)[1:]
    return {command: _sized(part).splitlines() for command, part in zip(commands, parts, strict=True)}


def _sized(text: str) -> str:
    """Leave out how large things are: the server vacuums meanwhile."""
    return re.sub(r"\d+ (bytes|kB|MB)", "so large", text)


def differences(one: dict[str, list[str]], other: dict[str, list[str]]) -> dict[str, list[str]]:
    """Give the first lines that differ, for each command."""
    return {
        command: list(difflib.unified_diff(one[command], other[command], n=0, lineterm=""))[:6]
        for command in one
        if one[command] != other[command]
    }


@pytest.mark.case("PG-31")
def test_the_whole_d_family_shows_what_it_shows_at_the_server(sides: Sides) -> None:
    direct = shown(sides, COMMANDS, directly=True)

    assert differences(direct, shown(sides, COMMANDS, directly=False)) == {}
    # It has been shown something.
    assert any("given by the keeper" in line for line in direct[r"\d+ zoo.*"])
    assert len(direct[r"\dfS"]) > 2_000


def test_the_d_family_works_where_columns_are_masked_but_for_sources_and_secrets(
    module_gateways: GatewayFactory, servers: dict[str, PostgresServer], target: str
) -> None:
    masking = serve(module_gateways, *servers.values(), opening(ZOO, masks=MASKS))
    sides = Sides(masking, servers[target], sign_in(masking, "dev1"), target, ZOO)
    direct, through = (shown(sides, COMMANDS, directly=directly) for directly in (True, False))

    found = differences(direct, through)

    assert set(found) == SOURCES | SECRETS
    assert [command for command in found if REFUSED.search("\n".join(through[command])) is None] == []
    assert any("given by the keeper" in line for line in through[r"\d+ zoo.*"])
    assert masking.stop() == 0


def test_settings_of_the_session_are_shown_as_the_gateway_pins_them(sides: Sides) -> None:
    shown_here = sides.through().run(r"\dconfig application_name", "SHOW search_path").rows

    assert shown_here[0].startswith("application_name|psql vestibule:")
    assert shown_here[-1] == '"public"'


# \copy


def test_copy_writes_and_reads_files_of_the_client(sides: Sides, name: str) -> None:
    out = r"\copy (SELECT * FROM zoo.animals ORDER BY id) TO 'animals.csv' WITH (FORMAT csv, HEADER, NULL '~')"
    psql, direct = sides.through(), sides.direct()
    direct.script(f"{out}\n")

    done = psql.script(f"""{out}
\\copy (SELECT id, name FROM zoo.animals ORDER BY id) TO PROGRAM 'sort -r > sorted.txt'
CREATE TEMP TABLE {name} (id bigint, name text);
\\copy {name} FROM 'sorted.txt'
\\copy {name} FROM PROGRAM 'printf "900\\tby a program\\n"'
\\copy {name} (id, name) FROM STDIN
800\tby hand
\\.
SELECT count(*) FROM {name} JOIN zoo.animals USING (id, name);
\\copy (SELECT name FROM {name} WHERE id >= 800 ORDER BY id) TO STDOUT
""")

    assert done.errors == ""
    assert done.rows == ["61", "by hand", "by a program"]
    assert (psql.folder / "animals.csv").read_bytes() == (direct.folder / "animals.csv").read_bytes()


def test_a_copy_that_fails_at_the_server_leaves_the_session_in_step(sides: Sides, name: str) -> None:
    done = sides.through().script(
        f"CREATE TEMP TABLE {name} (n int);\n\\copy {name} FROM STDIN\n1\ntwo\n\\.\nSELECT count(*) FROM {name};\n"
    )

    assert "22P02" in done.errors
    assert done.rows == ["0"]


# Loops, variables, layouts


def test_watch_repeats_a_query_until_it_is_interrupted(sides: Sides) -> None:
    with sides.through().terminal() as terminal:
        terminal.expect("=>")
        terminal.type(r"SELECT 'turn ' || (40 + 2) AS t \watch 0.2")
        for _ in range(3):
            terminal.expect("turn 42")
        terminal.interrupt()
        terminal.expect("=>")
        terminal.type("SELECT 'still ' || 'here' AS s;")
        terminal.expect("still here")


def test_gexec_gset_gdesc_and_crosstabview_do_what_they_do_at_the_server(sides: Sides) -> None:
    script = r"""
SELECT format('SELECT %s * 2', g) FROM generate_series(1, 3) g \gexec
SELECT 5 AS five, 'x y' AS "six" \gset got_
SELECT :got_five, :'got_six';
SELECT id, name, home FROM zoo.keepers \gdesc
SELECT keeper, is_big, count(*) FROM zoo.animals GROUP BY 1, 2 ORDER BY 1, 2 \crosstabview
SELECT count(*) FROM zoo.animals \g counted.txt
SELECT 1 \; SELECT 2 \; SELECT 3;
SELECT relname
  FROM pg_class  -- over several lines
 WHERE relname = 'animals';
SELECT id, about FROM zoo.animals WHERE id = 1 \gx
\sv zoo.big
\ef zoo.double
\p
\r
\ev zoo.big
\r
SELECT name FROM zoo.animals WHERE id = :got_five;
\if :{?SERVER_VERSION_NUM}
\echo known
\endif
"""
    printed = []
    for psql in (sides.through(), sides.direct()):
        done = psql.program(["env", "PSQL_EDITOR=true", "psql", "-X"], typed=script)
        printed.append((done.output, done.errors, (psql.folder / "counted.txt").read_text()))

    assert printed[0] == printed[1]
    assert printed[0][1] == ""


def test_timing_tells_how_long_it_took(sides: Sides) -> None:
    done = sides.through().script("\\timing on\nSELECT 41 + 1;\n")

    assert done.rows[0] == "42"
    assert re.fullmatch(r"Time: [\d.]+ ms.*", done.rows[1])


# Transactions


def test_on_error_rollback_saves_a_transaction_from_a_refusal(sides: Sides, name: str) -> None:
    done = sides.through().script(
        f"""\\set ON_ERROR_ROLLBACK on
BEGIN;
CREATE TEMP TABLE {name} (n int);
INSERT INTO {name} VALUES (1);
DROP TABLE zoo.log;
SELECT 1/0;
INSERT INTO {name} VALUES (2);
COMMIT;
SELECT sum(n) FROM {name};
"""
    )

    assert "42501" in done.errors
    assert "22012" in done.errors
    assert done.rows == ["3"]


def test_a_script_in_one_transaction_is_undone_by_a_refusal(sides: Sides, name: str) -> None:
    psql = sides.through()
    script = psql.folder / "script.sql"
    script.write_text(f"INSERT INTO zoo.ancestor VALUES (77, '{name}');\nDROP TABLE zoo.log;\n")
    script.chmod(0o644)

    done = psql.program(["psql", "-X", "-1", "-v", "ON_ERROR_STOP=1", "-f", "script.sql"])

    assert done.status == 3
    assert 'needs "schema"' in done.errors
    assert psql.run(f"SELECT count(*) FROM zoo.ancestor WHERE b = '{name}'").rows == ["0"]


# \c


def test_c_goes_to_a_database_that_the_policy_opens_and_stays_where_it_does_not(sides: Sides) -> None:
    with sides.through().terminal("-At") as terminal:
        terminal.expect("=>")
        terminal.type(rf"\c {ANNEX}")
        terminal.expect(f'You are now connected to database "{ANNEX}" as user "dev1+{sides.target}"')
        terminal.type(rf"\c {CLOSED}")
        terminal.expect(f"choose a database of {sides.target}: {DATABASE}, {ZOO}, {ANNEX}")
        terminal.expect("Previous connection kept")
        terminal.type("SELECT 'in ' || current_database();")
        terminal.expect(f"in {ANNEX}")
        terminal.type(r"\c - - - -")
        terminal.expect("You are now connected")
        terminal.type(r"\conninfo")
        terminal.expect(f'connected to database "{ANNEX}" as user "dev1+{sides.target}" on host "localhost"')


def test_c_goes_to_another_target_of_the_person(sides: Sides) -> None:
    other = MODERN if sides.target == TARGET else TARGET
    major = "18" if other == MODERN else "15"
    done = sides.through().script(f"\\c - dev1+{other}\nSELECT current_setting('server_version_num')::int / 10000;\n")

    assert done.errors == "" or "WARNING" in done.errors
    assert done.rows[-1] == major


# What is refused


def test_password_is_refused_plainly_and_no_hash_of_it_is_kept(both: Gateway, sides: Sides) -> None:
    journal = Journal(both.data)
    mark = journal.mark()
    with sides.through().terminal() as terminal:
        terminal.expect("=>")
        for asked, why in (
            (r"\password", "the account with which the gateway itself logs in"),
            (r"\password somebody", 'denied by rule "default": alter'),
        ):
            terminal.type(asked)
            terminal.expect("Enter new password")
            terminal.type("a-new-password")
            terminal.expect("Enter it again")
            terminal.type("a-new-password")
            terminal.expect(why)
            terminal.expect("=>")
        terminal.type(r"\q")
        assert terminal.wait() == 0

    decided = [record for record in journal.since(mark, "StatementDecided") if "ALTER" in str(record["text"])]
    assert [record["decision"] for record in decided] == ["deny", "deny"]
    assert all(str(record["text"]).endswith("PASSWORD <secret>") for record in decided)


def test_large_objects_of_the_client_are_refused_with_what_to_do(sides: Sides) -> None:
    done = sides.through().script("\\lo_export 1 here\nSELECT 'on';\n")

    assert "function calls by number (FunctionCall) are not supported" in done.errors
    assert done.rows[-1] == "on"
