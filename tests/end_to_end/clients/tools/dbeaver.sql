-- What DBeaver asks when it connects to PostgreSQL and opens its tree, written anew from what is known of it: the same
-- catalogs, functions, joins and forms, by the same driver, in words of our own.
-- Known from: the source of DBeaver Community (github.com/dbeaver/dbeaver, plugins/org.jkiss.dbeaver.ext.postgresql,
-- model/PostgreDatabase, PostgreSchema, PostgreExecutionContext, PostgreDataSource), and a server's log of version
-- 25.1.5 (github.com/datafusion-contrib/datafusion-postgres, issue 135). Numbers stand where it binds parameters.

-- name: settings of the driver
SET extra_float_digits = 3

-- name: application
SET application_name = 'DBeaver 25.1.5 - Main <core>'

-- name: active schema and user
SELECT current_schema(), session_user

-- name: search path
SHOW search_path

-- name: version
SELECT version()

-- name: this database
SELECT db.oid, db.* FROM pg_catalog.pg_database db WHERE datname = 'core'

-- name: databases
SELECT db.oid, db.* FROM pg_catalog.pg_database db WHERE datallowconn AND NOT datistemplate ORDER BY db.datname

-- name: a setting (which the gateway has set itself)
-- rows: differ
SELECT * FROM pg_catalog.pg_settings WHERE name = 'standard_conforming_strings'

-- name: key words
SELECT string_agg(word, ',') FROM pg_catalog.pg_get_keywords() WHERE word <> ALL ('{a,abs,absolute,action,zone}'::text[])

-- name: schemas
SELECT n.oid, n.*, d.description FROM pg_catalog.pg_namespace n
LEFT OUTER JOIN pg_catalog.pg_description d ON d.objoid = n.oid AND d.objsubid = 0 AND d.classoid = 'pg_namespace'::regclass
ORDER BY nspname

-- name: roles
SELECT a.oid, a.*, pd.description FROM pg_catalog.pg_roles a
LEFT JOIN pg_catalog.pg_shdescription pd ON a.oid = pd.objoid ORDER BY a.rolname

-- name: access methods
SELECT am.oid, am.* FROM pg_catalog.pg_am am ORDER BY am.oid

-- name: languages
SELECT l.oid, l.* FROM pg_catalog.pg_language l ORDER BY l.oid

-- name: encodings
SELECT c.contoencoding AS encid, pg_catalog.pg_encoding_to_char(c.contoencoding) AS encname
FROM pg_catalog.pg_conversion c GROUP BY c.contoencoding ORDER BY 2

-- name: collations
SELECT c.oid, c.* FROM pg_catalog.pg_collation c ORDER BY c.oid

-- name: tablespaces
SELECT t.oid, t.*, pg_tablespace_location(t.oid) AS loc FROM pg_catalog.pg_tablespace t ORDER BY t.oid

-- name: foreign data wrappers
SELECT l.oid, l.*, p.pronamespace AS handler_schema_id FROM pg_catalog.pg_foreign_data_wrapper l
LEFT OUTER JOIN pg_catalog.pg_proc p ON p.oid = l.fdwhandler ORDER BY l.fdwname

-- name: foreign servers
SELECT l.oid, l.* FROM pg_catalog.pg_foreign_server l ORDER BY l.srvname

-- name: extensions
SELECT e.oid, a.name, e.extversion, n.nspname AS schema_name, a.comment, e.extrelocatable FROM pg_catalog.pg_extension e
JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace
JOIN pg_catalog.pg_available_extensions a ON a.name = e.extname ORDER BY a.name

-- name: available extensions
SELECT name, default_version, installed_version, comment FROM pg_catalog.pg_available_extensions ORDER BY name

-- name: event triggers
SELECT pet.oid, pet.*, d.description FROM pg_catalog.pg_event_trigger pet
LEFT OUTER JOIN pg_catalog.pg_description d ON d.objoid = pet.oid AND d.objsubid = 0

-- name: data types of a schema
SELECT t.oid, t.*, c.relkind, format_type(nullif(t.typbasetype, 0), t.typtypmod) AS base_type_name, d.description
FROM pg_catalog.pg_type t
LEFT OUTER JOIN pg_catalog.pg_type et ON et.oid = t.typelem
LEFT OUTER JOIN pg_catalog.pg_class c ON c.oid = t.typrelid
LEFT OUTER JOIN pg_catalog.pg_description d ON t.oid = d.objoid
WHERE t.typname IS NOT NULL AND (c.relkind IS NULL OR c.relkind = 'c') AND (et.typcategory IS NULL OR et.typcategory <> 'C')
  AND t.typnamespace = {schema}

-- name: values of enumerations
SELECT e.oid, e.* FROM pg_catalog.pg_enum e JOIN pg_catalog.pg_type t ON t.oid = e.enumtypid
WHERE t.typnamespace = {schema} ORDER BY e.enumsortorder

-- name: relations of a schema
SELECT c.oid, c.*, d.description, pg_catalog.pg_get_expr(c.relpartbound, c.oid) AS partition_expr,
    pg_catalog.pg_get_partkeydef(c.oid) AS partition_key
FROM pg_catalog.pg_class c
LEFT OUTER JOIN pg_catalog.pg_description d ON d.objoid = c.oid AND d.objsubid = 0 AND d.classoid = 'pg_class'::regclass
WHERE c.relnamespace = {schema} AND c.relkind NOT IN ('i', 'I', 'c')

-- name: columns of a table
SELECT c.relname, a.*, pg_catalog.pg_get_expr(ad.adbin, ad.adrelid, true) AS def_value, dsc.description, dep.objid
FROM pg_catalog.pg_attribute a
INNER JOIN pg_catalog.pg_class c ON (a.attrelid = c.oid)
LEFT OUTER JOIN pg_catalog.pg_attrdef ad ON (a.attrelid = ad.adrelid AND a.attnum = ad.adnum)
LEFT OUTER JOIN pg_catalog.pg_description dsc ON (c.oid = dsc.objoid AND a.attnum = dsc.objsubid)
LEFT OUTER JOIN pg_depend dep ON dep.refobjid = a.attrelid AND dep.deptype = 'i' AND dep.refobjsubid = a.attnum
    AND dep.classid = dep.refclassid
WHERE NOT a.attisdropped AND c.oid = {table} ORDER BY a.attnum

-- name: columns of a schema
SELECT c.relname, a.*, pg_catalog.pg_get_expr(ad.adbin, ad.adrelid, true) AS def_value, dsc.description
FROM pg_catalog.pg_attribute a
INNER JOIN pg_catalog.pg_class c ON (a.attrelid = c.oid)
LEFT OUTER JOIN pg_catalog.pg_attrdef ad ON (a.attrelid = ad.adrelid AND a.attnum = ad.adnum)
LEFT OUTER JOIN pg_catalog.pg_description dsc ON (c.oid = dsc.objoid AND a.attnum = dsc.objsubid)
WHERE NOT a.attisdropped AND c.relnamespace = {schema} AND c.relkind NOT IN ('i', 'c') ORDER BY a.attnum

-- name: constraints
SELECT c.oid, c.*, t.relname AS tabrelname, rt.relnamespace AS refnamespace, d.description,
    CASE WHEN c.contype = 'c' THEN "substring"(pg_get_constraintdef(c.oid), 7) ELSE NULL END AS consrc_copy
FROM pg_catalog.pg_constraint c
INNER JOIN pg_catalog.pg_class t ON t.oid = c.conrelid
LEFT OUTER JOIN pg_catalog.pg_class rt ON rt.oid = c.confrelid
LEFT OUTER JOIN pg_catalog.pg_description d ON d.objoid = c.oid AND d.objsubid = 0 AND d.classoid = 'pg_constraint'::regclass
WHERE t.relnamespace = {schema} ORDER BY c.oid

-- name: indexes
SELECT i.*, i.indkey AS keys, c.relname, c.relnamespace, c.relam, c.reltablespace, tc.relname AS tabrelname, dsc.description,
    pg_catalog.pg_get_expr(i.indpred, i.indrelid) AS pred_expr, pg_catalog.pg_get_expr(i.indexprs, i.indrelid, true) AS expr,
    pg_catalog.pg_relation_size(i.indexrelid) AS index_rel_size, pg_catalog.pg_stat_get_numscans(i.indexrelid) AS index_num_scans
FROM pg_catalog.pg_index i
INNER JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
INNER JOIN pg_catalog.pg_class tc ON tc.oid = i.indrelid
LEFT OUTER JOIN pg_catalog.pg_description dsc ON i.indexrelid = dsc.objoid
WHERE i.indrelid = {table} ORDER BY tabrelname, c.relname

-- name: an index's definition
SELECT pg_catalog.pg_get_indexdef({index}, 1, true)

-- name: inheritance
SELECT i.*, c.relnamespace FROM pg_catalog.pg_inherits i, pg_catalog.pg_class c
WHERE i.inhrelid = {table} AND c.oid = i.inhparent ORDER BY i.inhseqno

-- name: triggers
SELECT x.oid, x.*, p.pronamespace AS func_schema_id, d.description FROM pg_catalog.pg_trigger x
LEFT OUTER JOIN pg_catalog.pg_proc p ON p.oid = x.tgfoid
LEFT OUTER JOIN pg_catalog.pg_description d ON d.objoid = x.oid AND d.objsubid = 0 WHERE NOT x.tgisinternal

-- name: functions of a schema
SELECT p.oid AS poid, p.*, pg_catalog.pg_get_expr(p.proargdefaults, 0) AS arg_defaults, d.description
FROM pg_catalog.pg_proc p
LEFT OUTER JOIN pg_catalog.pg_description d ON d.objoid = p.oid AND d.objsubid = 0
WHERE p.pronamespace = {schema} ORDER BY p.proname

-- name: a function's definition
-- masked: refused
SELECT pg_get_functiondef({function})

-- name: a view's definition
SELECT pg_get_viewdef({view}, true)

-- name: rules
SELECT r.oid, r.*, pg_get_ruledef(r.oid) AS definition FROM pg_catalog.pg_rewrite r ORDER BY r.rulename

-- name: policies
SELECT * FROM pg_catalog.pg_policies WHERE schemaname = 'zoo'

-- name: grants on a table
SELECT * FROM information_schema.table_privileges WHERE table_schema = 'zoo' AND table_name = 'animals'

-- name: grants on columns
SELECT * FROM information_schema.column_privileges WHERE table_schema = 'zoo'

-- name: sequences
SELECT * FROM pg_catalog.pg_sequences WHERE schemaname = 'zoo' ORDER BY sequencename

-- name: dependencies
SELECT DISTINCT dep.deptype, dep.classid, dep.objid, cl.relkind, attr.attname, pg_get_expr(ad.adbin, ad.adrelid) adefval,
    CASE WHEN cl.relkind IS NOT NULL THEN cl.relkind::text || COALESCE(dep.objsubid::text, '')
        WHEN tg.oid IS NOT NULL THEN 'T'::text WHEN ty.oid IS NOT NULL THEN 'y'::text WHEN ns.oid IS NOT NULL THEN 'n'::text
        WHEN pr.oid IS NOT NULL THEN 'p'::text WHEN rw.oid IS NOT NULL THEN 'R'::text ELSE '' END AS type,
    COALESCE(coc.relname, clrw.relname, tg.tgname) AS ownertable
FROM pg_depend dep
LEFT JOIN pg_class cl ON dep.objid = cl.oid
LEFT JOIN pg_attribute attr ON dep.objid = attr.attrelid AND dep.objsubid = attr.attnum
LEFT JOIN pg_proc pr ON dep.objid = pr.oid
LEFT JOIN pg_trigger tg ON dep.objid = tg.oid
LEFT JOIN pg_type ty ON dep.objid = ty.oid
LEFT JOIN pg_constraint co ON dep.objid = co.oid
LEFT JOIN pg_class coc ON co.conrelid = coc.oid
LEFT JOIN pg_rewrite rw ON dep.objid = rw.oid
LEFT JOIN pg_class clrw ON clrw.oid = rw.ev_class
LEFT JOIN pg_namespace ns ON dep.objid = ns.oid
LEFT JOIN pg_attrdef ad ON ad.oid = dep.objid
WHERE dep.refobjid = {table} ORDER BY type

-- name: sizes
-- rows: differ
SELECT c.oid, pg_catalog.pg_total_relation_size(c.oid) AS total_rel_size, pg_catalog.pg_relation_size(c.oid) AS rel_size
FROM pg_class c WHERE c.relnamespace = {schema} AND c.relkind IN ('r', 'm')

-- name: size of a database
-- rows: differ
SELECT pg_catalog.pg_database_size({database})

-- name: sessions
-- rows: differ
SELECT sa.* FROM pg_catalog.pg_stat_activity sa

-- name: locks
-- rows: differ
WITH locks AS (
    SELECT pid, locktype, mode, granted, transactionid tid, relation, page, tuple FROM pg_catalog.pg_locks
), conflict AS (
    SELECT * FROM (VALUES ('AccessShareLock', 'AccessExclusiveLock', 1), ('RowShareLock', 'ExclusiveLock', 2))
        AS t (mode1, mode2, prt)
)
SELECT l.pid, l.mode, c.prt FROM locks l LEFT JOIN conflict c ON c.mode1 = l.mode

-- name: rows of a table
SELECT t.* FROM zoo.keepers t LIMIT 200

-- name: count of rows
SELECT count(*) FROM zoo.animals

-- name: a query plan
-- rows: differ
EXPLAIN (FORMAT XML) SELECT id FROM zoo.animals WHERE id = 1
