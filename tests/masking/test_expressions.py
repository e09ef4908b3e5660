from __future__ import annotations

import pytest

from tests.support.masked import decided, form, relation, sensitive
from vestibule.masking.scene import Scene
from vestibule.model.names import RuleName
from vestibule.model.plan import Label, Transform
from vestibule.model.statement import Unsupported

#: Every place in an expression where a column can stand; `@` is one.
PLACES = """
@ + 1
- @
@ = 'a'
'a' = @
@ IN ('a')
'a' IN (@)
@ BETWEEN 'a' AND 'b'
'a' BETWEEN @ AND 'b'
@ LIKE 'a'
@ SIMILAR TO 'a'
@ IS DISTINCT FROM 'a'
@ IS TRUE
@ IS DOCUMENT
@ IS JSON
NOT (@ = 'a')
@ = 'a' OR true
@ = ANY (ARRAY['a'])
'a' = ANY (ARRAY[@])
@ = ALL (SELECT 'a')
lower(@)
pg_catalog.lower(@)
f(x => @)
f(VARIADIC ARRAY[@])
max(@)
sum(1) FILTER (WHERE @ = 'a')
array_agg(1 ORDER BY @)
percentile_disc(0.5) WITHIN GROUP (ORDER BY @)
rank() OVER (PARTITION BY @)
rank() OVER (ORDER BY @)
sum(1) OVER (ROWS length(@) PRECEDING)
CASE @ WHEN 'a' THEN 1 END
CASE WHEN @ = 'a' THEN 1 END
CASE WHEN true THEN @ END
CASE WHEN true THEN 'a' ELSE @ END
coalesce('a', @)
nullif(@, 'a')
greatest(@, 'a')
ARRAY[@]
ARRAY[['a'], [@]]
(ARRAY['a'])[length(@)]
(ARRAY['a'])[1:length(@)]
@::bytea
CAST(@ AS varchar(9))
@ COLLATE "C"
@ AT TIME ZONE 'UTC'
'2020-01-01' AT TIME ZONE @
extract(year FROM @)
overlay('a' PLACING @ FROM 1)
position(@ IN 'a')
substring('a' FROM @)
trim(@ FROM 'a')
normalize(@)
ROW(1, @)
(1, @) = (1, 'a')
(1, @) IN (SELECT 1, 'a')
xmlelement(name a, @)
xmlelement(name a, xmlattributes(@ AS b))
xmlforest(@ AS a)
xmlconcat(xmlelement(name a), @)
xmlpi(name a, @)
xmlroot(xmlelement(name a), VERSION @)
xmlserialize(CONTENT @ AS text)
xmlparse(CONTENT @)
xmlexists('/a' PASSING @)
JSON_OBJECT('a': @)
JSON_OBJECT(@: 'a')
JSON_ARRAY(@)
JSON_ARRAYAGG(@)
JSON_OBJECTAGG('a': @)
JSON_VALUE(@, '$')
JSON_VALUE('{}', '$' PASSING @ AS x)
JSON_VALUE('{}', '$' DEFAULT @ ON EMPTY)
JSON_QUERY(@, '$')
JSON_EXISTS(@, '$')
JSON_SCALAR(@)
JSON_SERIALIZE(@)
JSON(@)
JSON_ARRAY(SELECT @)
(SELECT @)
(SELECT max(@) FROM branches)
(SELECT name FROM branches WHERE name = @ LIMIT 1)
(SELECT name FROM branches ORDER BY @ LIMIT 1)
(SELECT name FROM branches LIMIT length(@))
(SELECT x FROM (VALUES (@)) v(x))
(WITH q AS (SELECT @ AS x) SELECT x FROM q)
EXISTS (SELECT 1 FROM branches WHERE name = @)
EXISTS (SELECT DISTINCT @)
ARRAY(SELECT @)
GROUPING(@)
count(@ ORDER BY 1)
count(lower(@))
count(@) OVER ()
(@ || 'a') IS NULL
@ OPERATOR(pg_catalog.=) 'a'
""".strip().splitlines()


@pytest.mark.parametrize("column", ["ssn", "customers.ssn", "public.customers.ssn"])
@pytest.mark.parametrize("place", PLACES)
def test_a_sensitive_column_is_found_wherever_it_stands(place: str, column: str) -> None:
    decision = decided(f"SELECT {place.replace('@', column)} FROM customers")

    assert isinstance(decision, Unsupported), decision
    assert decision.message.startswith("vestibule: customers.ssn is masked for you and cannot be used in ")


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("frame", ["WHERE", "GROUP BY", "HAVING", "ORDER BY"])
def test_the_same_in_each_clause(place: str, frame: str) -> None:
    expression = f"({place.replace('@', 'ssn')})"
    text = f"SELECT 1 FROM customers {frame} {expression}{' IS NOT NULL' if frame in ('WHERE', 'HAVING') else ''}"

    assert form(decided(text)) == "refused"


@pytest.mark.parametrize("place", PLACES)
def test_a_clean_column_there_is_clean(place: str) -> None:
    decision = decided(f"SELECT {place.replace('@', 'state')} FROM customers")

    assert form(decision) == "clean", decision


@pytest.mark.parametrize("column", ["ssn", "c.ssn", "c.nothing", "c.*", "c", "public.customers.ssn"])
def test_only_a_column_by_itself_may_be_counted(column: str) -> None:
    source = "customers c" if "public" not in column else "customers"
    expected = "plain()" if column.endswith("ssn") else "refused"

    assert form(decided(f"SELECT count({column}) FROM {source}")) == expected
    assert form(decided(f"SELECT {column} IS NULL FROM {source}")) == expected


def test_a_column_that_newer_servers_have_a_keyword_for_is_found() -> None:
    label = Label(RuleName("r"), ("*.logins.system_user",), Transform("hide"))
    scene = Scene(sensitive(relation(30_000, "logins", ["id", "system_user"]), labels=[label]), is_fresh=True)

    assert form(decided("SELECT system_user FROM logins", scene)) == "refused"
    assert form(decided("SELECT 1 FROM logins WHERE system_user > 'a'", scene)) == "refused"
    assert form(decided("SELECT system_user FROM branches", scene)) == "clean"


def test_a_function_of_another_schema_that_is_called_count_counts_nothing() -> None:
    assert form(decided("SELECT public.count(ssn) FROM customers")) == "refused"


def test_a_row_of_a_clean_relation_may_be_cast_as_if_it_had_a_column() -> None:
    assert form(decided("SELECT b.text FROM branches b, customers")) == "clean"
    assert form(decided("SELECT c.text FROM customers c")) == "refused"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("SELECT x.a FROM customers", "42P01"),
        ("SELECT other.customers.ssn FROM customers", "42P01"),
        ("SELECT c.nosuch FROM branches c, customers", "42703"),
        ("SELECT nosuch FROM customers", "42703"),
    ],
)
def test_a_name_that_nothing_has_is_refused(text: str, code: str) -> None:
    decision = decided(text)

    assert isinstance(decision, Unsupported)
    assert decision.code == code


def test_a_column_of_the_system_that_holds_values_is_refused_with_what_a_dump_can_do_instead() -> None:
    attributes = relation(1_249, "pg_catalog.pg_attribute", ["attrelid", "attmissingval"])
    scene = Scene(sensitive(attributes), is_fresh=True)

    refused = decided("SELECT CASE WHEN true THEN attmissingval END FROM pg_attribute", scene)

    assert isinstance(refused, Unsupported)
    assert "attmissingval is masked for you" in refused.message
    assert "COPY (SELECT column, ...) TO STDOUT" in refused.hint
    assert "dump" in refused.hint
