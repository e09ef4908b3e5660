"""The words that attempts to see protected values are put together from: dresses, nests, failures, whole statements."""

from __future__ import annotations

from collections.abc import Mapping

#: How a text is dressed up and stays a text; `@` is the value.
GARMENTS = """
@ || '' ; trim(@) ; concat(@) ; concat_ws('-', @, '') ; format('%s', @) ; format('%1$I', @) ; replace(@, '-', '')
reverse(@) ; upper(@) ; lower(@) ; initcap(@) ; quote_literal(@) ; quote_ident(@) ; quote_nullable(@) ; repeat(@, 2)
translate(@, '-', ' ') ; overlay(@ placing '' from 4 for 0) ; left(@, 9) ; left(@, 4) || substr(@, 5) ; "left"(@, 9)
lpad(@, 40, '.') ; rpad(@, 40) ; regexp_replace(@, '^', 'z') ; btrim(@, '!') ; substring(@ from '.*') ; @::varchar
substring(@ from 1 for 9) ; split_part(@, '~', 1) ; @::varchar(40) ; @::char(40)::text ; @::name::text ; normalize(@)
coalesce(@, '') ; nullif(@, '') ; greatest(@, '') ; least(@, '~') ; CASE WHEN true THEN @ END ; (SELECT @)
@ COLLATE "C" ; CASE WHEN @ IS NULL THEN 'a' ELSE @ END ; (ARRAY['a', @])[2] ; array_to_string(ARRAY[@, 'a'], ',')
textcat(@, '') ; to_jsonb(@) #>> '{}' ; convert_from(convert_to(@, 'UTF8'), 'UTF8')
encode(convert_to(@, 'UTF8'), 'escape') ; xmlserialize(content xmlelement(name e, @) AS text)
(regexp_match(@, '(.*)'))[1] ; pg_catalog.lower(@)
json_build_object('k', @) ->> 'k' ; (VALUES (@)) ; (SELECT max(z) FROM (VALUES (@)) AS y(z)) ; @::bytea::text
"""
#: How a text ends as something else, or as something that cannot be read at once.
COSTUMES = """
@::bytea ; convert_to(@, 'UTF8') ; encode(convert_to(@, 'UTF8'), 'hex') ; encode(convert_to(@, 'UTF8'), 'base64')
ARRAY[@] ; ARRAY[['a', @]] ; array_append('{}'::text[], @) ; string_to_array(@, '~') ; ROW(@) ; ROW(1, @, 2)
to_json(@) ; to_jsonb(@) ; json_build_object('k', @) ; jsonb_build_object(@, 1) ; json_build_array(1, @)
jsonb_set('{"a": 1}', '{a}', to_jsonb(@)) ; json_object(ARRAY['k', @]) ; jsonb_path_query_first(to_jsonb(@), '$')
xmlelement(name e, @) ; xmlelement(name e, xmlattributes(@ AS a)) ; xmlforest(@ AS f) ; unnest(ARRAY[@])
regexp_split_to_table(@, '~') ; string_to_table(@, '~') ; regexp_matches(@, '.+') ; unnest(string_to_array(@, NULL))
hstore('k', @) ; @::tsvector ; to_tsvector('simple', @) ; set_byte(@::bytea, 0, get_byte(@::bytea, 0))
"""
#: What a text can be told again by, though nothing of it is seen.
DISGUISES = """
hashtext(@) ; hashtextextended(@, 7) ; md5('salt' || @) ; sha256(convert_to('salt' || @, 'UTF8')) ; md5(md5(@))
translate(@, '0123456789-', 'qwertzuiopa') ; array(SELECT ascii(x) FROM string_to_table(@, NULL) AS x)
md5(@ || length(@)) ; encode(sha512(convert_to(reverse(@), 'UTF8') || '\\x00'::bytea), 'hex') ; crypt(@, '$1$aaaaaaaa')
"""
#: How a value of each kind but text is made into something that is shown.
DRESSES: Mapping[str, str] = {
    "date": """
@ ; @::text ; @ + 0 ; to_char(@, 'YYYY-MM-DD') ; to_char(@, 'DD/MM/YYYY') ; date_trunc('day', @) ; @::timestamp::text
format('%s', @) ; to_json(@) ; ARRAY[@] ; coalesce(@, current_date) ; greatest(@, '0001-01-01')
daterange(@, NULL)::text ; (@ - interval '0 days')::text
make_date(extract(year from @)::int, extract(month from @)::int, extract(day from @)::int)
""",
    "json": """
@ ; @::text ; @ -> 'kyc' ->> 'tax_id' ; @ #>> '{kyc,tax_id}' ; (@)['kyc']['tax_id'] ; jsonb_pretty(@) ; @ - 'score'
jsonb_path_query_first(@, '$.kyc.tax_id') ; @ || '{}' ; jsonb_path_query(@, '$.kyc.*') ; jsonb_strip_nulls(@)
jsonb_extract_path_text(@, 'kyc', 'tax_id') ; jsonb_each_text(@ -> 'kyc') ; jsonb_path_query_array(@, '$.**')
(jsonb_populate_record(NULL::customers, jsonb_build_object('ssn', @ -> 'kyc' ->> 'tax_id'))).ssn
""",
    "array": """
@ ; @[1] ; @::text ; array_to_string(@, ',') ; unnest(@) ; to_json(@) ; @ || '{}'::text[] ; (@)[1:1]
array_remove(@, 'a') ; array_to_json(@) ; array_cat(@, @)
""",
    "address": """
@ ; (@).street ; @::text ; row_to_json(@) ; to_jsonb(@) ->> 'street' ; format('%s', @) ; ARRAY[@] ; upper((@).street)
""",
    "hstore": """
@ ; @::text ; @ -> 'passport' ; avals(@) ; hstore_to_json(@) ; @::json ; each(@) ; hstore_to_array(@) ; svals(@)
""",
    "xml": """
@ ; @::text ; xpath('//taxid/text()', @) ; (xpath('//taxid/text()', @))[1]::text ; xmlconcat(@, NULL)
xmlserialize(content @ AS text) ; xmlelement(name e, @)
""",
    "bytes": """
@ ; convert_from(@, 'UTF8') ; encode(@, 'hex') ; encode(@, 'base64') ; encode(@, 'escape') ; @::text ; substr(@, 1, 20)
@ || ''::bytea ; overlay(@ placing ''::bytea from 1 for 0) ; set_byte(@, 0, get_byte(@, 0))
""",
    "customer": """
@ ; (@).ssn ; (@).full_name ; @::text ; row_to_json(@) ; to_jsonb(@) ->> 'email' ; ((@).home).street ; ARRAY[@]
format('%s', @) ; to_jsonb(@) - 'ssn' ; ((@).profile) ->> 'kyc' ; to_json(@) ; hstore(@) ; concat(@)
""",
    "any": "@ ; @::text ; to_json(@) ; ARRAY[@] ; format('%s', @) ; CASE WHEN true THEN @ END",
}
REFERENCES = """
t.@
t.@
@
"@"
"t"."@"
(t).@
/* a /* b */ c */ t . @
U&"t".@
"""

#: How a query is put into another; `@` is the query, whose column is `a`.
NESTS = """
SELECT s.a FROM (@) AS s
SELECT (s).a FROM (@) AS s
SELECT s.* FROM (@) AS s
SELECT b FROM (@) AS s(b)
WITH w AS (@) SELECT * FROM w
WITH w AS MATERIALIZED (@) SELECT a FROM w
WITH w(z) AS NOT MATERIALIZED (@) SELECT z FROM w
WITH v AS (@), w AS (SELECT * FROM v) SELECT v.a FROM v, w LIMIT 5
WITH v AS (WITH w AS (@) TABLE w) TABLE v
SELECT x.a FROM branches b, LATERAL (@) x WHERE b.id = 1
(@) UNION ALL (@)
SELECT NULL UNION ALL SELECT s.a::text FROM (@) s
SELECT state::text FROM customers WHERE id < 0 UNION SELECT s.a::text FROM (@) s
SELECT s.a::text FROM (@) s EXCEPT SELECT 'a'
(SELECT s.a::text FROM (@) s) INTERSECT (SELECT s.a::text FROM (@) s)
SELECT DISTINCT s.a::text FROM (@) s
SELECT DISTINCT ON (s.a::text) s.a FROM (@) s
SELECT ARRAY(SELECT s.a::text FROM (@) s)
SELECT (SELECT s.a FROM (@) s LIMIT 1)
SELECT row_to_json(s) FROM (@) s
SELECT to_jsonb(s) FROM (@) s
SELECT json_agg(s) FROM (@) s
SELECT s FROM (@) s
SELECT s::text FROM (@) s
SELECT ROW(s.*) FROM (@) s
SELECT array_agg(s.a::text) FROM (@) s
SELECT jsonb_agg(to_jsonb(s)) FROM (@) s
SELECT string_agg(s.a::text, ',') FROM (@) s
SELECT max(s.a::text) FROM (@) s
SELECT min(s.a::text) FILTER (WHERE true) FROM (@) s
SELECT xmlagg(xmlelement(name e, s.a::text)) FROM (@) s
SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY s.a::text) FROM (@) s
SELECT mode() WITHIN GROUP (ORDER BY s.a::text) FROM (@) s
SELECT first_value(s.a) OVER () FROM (@) s
SELECT lag(s.a, 0) OVER () FROM (@) s
SELECT max(s.a::text) OVER (PARTITION BY 1) FROM (@) s
SELECT v.z FROM (@) s, LATERAL (VALUES (s.a)) v(z)
SELECT unnest(ARRAY[s.a::text]) FROM (@) s
SELECT CASE WHEN s.a IS NULL THEN NULL ELSE s.a END FROM (@) s
WITH RECURSIVE r AS (SELECT '' a UNION SELECT (SELECT max(s.a::text) FROM (@) s) FROM r) SELECT a FROM r
SELECT s.a::text FROM (@) s GROUP BY s.a::text
SELECT s.a::text FROM (@) s GROUP BY ROLLUP (s.a::text)
SELECT s.a::text FROM (@) s GROUP BY 1 HAVING count(*) > 0
SELECT s.a FROM (@) s CROSS JOIN branches b WHERE b.id = 1
SELECT s.a FROM branches b LEFT JOIN (@) s ON true WHERE b.id = 1
SELECT j.a FROM ((@) s CROSS JOIN merchants m) AS j LIMIT 20
SELECT s.a FROM (@) s NATURAL JOIN (SELECT 1 AS one) o
SELECT f.z FROM ROWS FROM (unnest((SELECT array_agg(s.a::text) FROM (@) s))) AS f(z)
SELECT f.z FROM unnest(ARRAY(SELECT s.a::text FROM (@) s)) WITH ORDINALITY AS f(z, n)
SELECT coalesce(s.a::text, b.city) FROM (@) s FULL JOIN branches b ON false
SELECT j.k FROM (@) s, LATERAL jsonb_each_text(to_jsonb(s)) AS j(n, k)
SELECT r.a FROM (@) s, LATERAL jsonb_to_record(to_jsonb(s)) AS r(a text)
SELECT x.z FROM (@) s, XMLTABLE('//e' PASSING xmlelement(name e, s.a::text) COLUMNS z text PATH '.') x
SELECT json_object_agg(s.a::text, 1) FROM (@) s WHERE s.a IS NOT NULL
SELECT s.a AS id FROM (@) s ORDER BY s.a::text LIMIT 20
SELECT s.a FROM (@) s WHERE EXISTS (SELECT 1 FROM branches) OFFSET 0
"""

#: What fails and quotes `@`, a text, in its error or its notice.
FAILURES = """
SELECT (@)::int
SELECT (@)::date
SELECT (@)::uuid
SELECT (@)::inet
SELECT (@)::boolean
SELECT (@)::json
SELECT (@)::numeric
SELECT (@)::interval
SELECT ('"' || (@) || '"')::regclass
SELECT ('"' || (@) || '"')::regtype
SELECT CAST('x' || (@) AS bigint)
SELECT ('(' || (@))::point
SELECT 1 FROM branches WHERE ('x' || (@))::int = id
SELECT current_setting('a.' || encode(convert_to(@, 'UTF8'), 'hex'))
SELECT nextval('"' || (@) || '"')
SELECT has_table_privilege('"' || (@) || '"', 'select')
SELECT timezone(@, now())
SELECT encode('a', @)
SELECT date_trunc(@, now())
SELECT pg_read_file(@)
SELECT xmlparse(document @)
SELECT to_tsquery(@ || ' & & ')
SELECT ('{"a": ' || (@) || '}')::jsonb
INSERT INTO branches VALUES (1000, @, ''), (1000, @, '') RETURNING name
INSERT INTO merchants (code) VALUES (@), (@)
INSERT INTO accounts (id, account_number) VALUES (9998, @), (9999, @)
INSERT INTO customers (id, ssn, full_name, email) VALUES (7777, 'x', @, 'e')
UPDATE customers SET ssn = 'x' || (@) WHERE id = 5
INSERT INTO transactions (id, merchant) VALUES (99999, @)
DO $$BEGIN RAISE NOTICE '%', @; END$$
DO $$BEGIN RAISE EXCEPTION '%', @; END$$
"""

#: Whole rows and what is carried on, as they are.
WHOLES = """
SELECT * FROM customers WHERE id <= 12
SELECT t.* FROM customers t WHERE t.id <= 12
TABLE customers_vip
TABLE customers
SELECT * FROM cards WHERE id <= 12
SELECT c.*, a.* FROM customers c JOIN accounts a ON a.customer_id = c.id WHERE c.id <= 3
SELECT * FROM customers NATURAL JOIN reporting.v_full WHERE id <= 3
SELECT * FROM accounts a JOIN cards USING (id) WHERE id <= 3
TABLE reporting.v_full
SELECT * FROM reporting.mv_contact WHERE id <= 12
SELECT (old_row).* FROM cust_history
SELECT (home).* FROM customers WHERE id <= 12
SELECT (SELECT c FROM customers c WHERE id = 2).email
SELECT (get_customer(2)).*
SELECT tax_ref(1)
SELECT warn_customer(2)
SELECT ssn FROM customers WHERE id <= 12 FOR UPDATE
SELECT id, ssn s, email FROM customers WHERE id < 5 FOR KEY SHARE OF customers SKIP LOCKED
SELECT most_common_vals FROM pg_stats WHERE tablename = 'cards'
SELECT histogram_bounds FROM pg_stats WHERE tablename = 'customers'
SELECT stavalues1 FROM pg_statistic WHERE starelid = 'customers'::regclass
SELECT query_to_xml('SELECT ssn FROM customers WHERE id < 13', true, false, '')
SELECT table_to_xml('reporting.v_full', true, false, '')
SELECT convert_from(lo_get(lo), 'UTF8') FROM kyc WHERE customer_id <= 12
SELECT s FROM crosstab('SELECT id, 1, ssn FROM customers WHERE id < 9 ORDER BY 1') AS x(i int, s text)
SELECT * FROM dblink('host=127.0.0.1 port=' || current_setting('port'), 'SELECT ssn FROM customers') AS d(s text)
SELECT t_infomask, t_data FROM heap_page_items(get_raw_page('customers', 0)) LIMIT 4
SELECT * FROM pg_largeobject
"""

#: Writing statements that answer with rows; `@` is a text.
RETURNS = """
UPDATE customers SET state = state WHERE id <= 12 RETURNING ssn
UPDATE customers AS u SET state = 'NY' FROM branches b WHERE u.id = b.id RETURNING u.email, b.name
UPDATE cards SET exp_year = exp_year WHERE id <= 12 RETURNING *
UPDATE customers c SET segment = segment WHERE id <= 12 RETURNING c
UPDATE customers SET state = state WHERE id <= 12 RETURNING reverse(ssn), upper(full_name)
DELETE FROM kyc WHERE customer_id <= 12 RETURNING convert_from(scan, 'UTF8')
DELETE FROM cards WHERE id <= 12 RETURNING pan || ''
DELETE FROM customers_vip RETURNING *
WITH u AS (UPDATE cards SET exp_month = 1 WHERE id <= 12 RETURNING pan AS z) SELECT z FROM u
WITH d AS (DELETE FROM cards WHERE id <= 12 RETURNING cards) SELECT * FROM d
INSERT INTO customers_vip SELECT * FROM ONLY customers WHERE id <= 3 RETURNING ssn, email
INSERT INTO tickets SELECT 90001, 1, left(@, 300), '' RETURNING subject
INSERT INTO tickets (id, note) VALUES (90001, @) RETURNING *
INSERT INTO branches VALUES (1, 'x', 'y') ON CONFLICT (id) DO UPDATE SET city = @ RETURNING city
UPDATE tickets SET note = @ WHERE id <= 3 RETURNING note
UPDATE tickets SET (subject, note) = (SELECT 'a', @) WHERE id = 1 RETURNING tickets
WITH i AS (INSERT INTO merchants (code, name) VALUES ('M999', @) RETURNING *) TABLE i
UPDATE tickets t SET note = c.ssn FROM customers c WHERE c.id = t.id AND t.id <= 12 RETURNING t.note
"""
