-- What pgAdmin 4 asks when it connects, opens its tree and shows its dashboard, written anew from what is known of it:
-- the same catalogs, functions, joins and forms in words of our own. It speaks by psycopg 3, simple queries.
-- Known from: the source of pgAdmin 4 (github.com/pgadmin-org/pgadmin4), utils/driver/psycopg3/connection.py, the templates
-- `nodes`, `properties` and `stats` of databases, schemas, tables, columns, indexes and functions, and those of the dashboard.

-- name: settings of the session
SET DateStyle = ISO; SET client_min_messages = notice;
SELECT set_config('bytea_output', 'hex', false) FROM pg_show_all_settings() WHERE name = 'bytea_output';
SET client_encoding = 'UTF8'

-- name: settings of the session, older
SELECT set_config('bytea_output', 'hex', false) FROM pg_settings WHERE name = 'bytea_output'

-- name: version
SELECT version()

-- name: this database
SELECT db.oid AS did, db.datname, db.datallowconn, pg_encoding_to_char(db.encoding) AS serverencoding,
    has_database_privilege(db.oid, 'CREATE') AS cancreate, datistemplate
FROM pg_catalog.pg_database db WHERE db.datname = current_database()

-- name: encryption
SELECT gss_authenticated, encrypted FROM pg_catalog.pg_stat_gssapi WHERE pid = pg_backend_pid()

-- name: who I am
SELECT roles.oid AS id, roles.rolname AS name, roles.rolsuper AS is_superuser,
    CASE WHEN roles.rolsuper THEN true ELSE roles.rolcreaterole END AS can_create_role,
    CASE WHEN roles.rolsuper THEN true ELSE roles.rolcreatedb END AS can_create_db,
    CASE WHEN 'pg_signal_backend' = ANY (ARRAY(WITH RECURSIVE up AS (
        SELECT pg_roles.oid, pg_roles.rolname FROM pg_roles WHERE pg_roles.oid = roles.oid
        UNION ALL
        SELECT m.roleid, upper.rolname FROM up JOIN pg_auth_members m ON m.member = up.oid
            JOIN pg_roles upper ON upper.oid = m.roleid
    ) SELECT rolname FROM up)) THEN true ELSE false END AS can_signal_backend
FROM pg_catalog.pg_roles AS roles WHERE rolname = current_user

-- name: recovery
SELECT CASE WHEN usesuper THEN pg_is_in_recovery() ELSE false END AS inrecovery,
    CASE WHEN usesuper AND pg_is_in_recovery() THEN pg_is_wal_replay_paused() ELSE false END AS isreplaypaused
FROM pg_user WHERE usename = current_user

-- name: replication type
SELECT CASE WHEN (SELECT count(extname) FROM pg_catalog.pg_extension WHERE extname = 'bdr') > 0 THEN 'pgd'
    WHEN (SELECT count(*) FROM pg_stat_replication) > 0 THEN 'log' ELSE NULL END AS type

-- name: databases
SELECT db.oid AS did, db.datname AS name, ta.spcname, db.datallowconn, db.datistemplate AS is_template,
    pg_catalog.has_database_privilege(db.oid, 'CREATE') AS cancreate, datdba AS owner, descr.description
FROM pg_catalog.pg_database db
LEFT OUTER JOIN pg_catalog.pg_tablespace ta ON db.dattablespace = ta.oid
LEFT OUTER JOIN pg_catalog.pg_shdescription descr ON (db.oid = descr.objoid AND descr.classoid = 'pg_database'::regclass)
WHERE db.oid > 16383::OID OR db.datname IN ('postgres', 'edb') ORDER BY datname

-- name: properties of a database
SELECT db.oid AS did, db.datname AS name, pg_catalog.pg_get_userbyid(datdba) AS datowner, datcollate, datctype, datconnlimit,
    pg_encoding_to_char(encoding) AS encoding, (SELECT pg_catalog.shobj_description(db.oid, 'pg_database')) AS comments,
    pg_catalog.array_to_string(datacl::text[], ', ') AS acl,
    (SELECT array_to_string(ARRAY(SELECT unnest(defaclacl)::text FROM pg_catalog.pg_default_acl WHERE defaclobjtype = 'r'
        AND defaclnamespace = 0::OID), ', ')) AS tblacl,
    (SELECT array_agg(provider || '=' || label) FROM pg_catalog.pg_shseclabel sl1 WHERE sl1.objoid = db.oid) AS seclabels,
    (SELECT setting FROM pg_settings WHERE name = 'default_tablespace') AS default_tablespace
FROM pg_catalog.pg_database db WHERE db.oid = {database}::OID

-- name: roles
SELECT r.oid, r.rolname, r.rolcanlogin, r.rolsuper, pg_catalog.shobj_description(r.oid, 'pg_authid') AS description,
    ARRAY(SELECT CASE WHEN am.admin_option THEN '1' ELSE '0' END || rm.rolname FROM (SELECT * FROM pg_catalog.pg_auth_members
        WHERE member = r.oid) am LEFT JOIN pg_catalog.pg_roles rm ON (rm.oid = am.roleid) ORDER BY rm.rolname) AS rolmembership
FROM pg_catalog.pg_roles r ORDER BY r.rolcanlogin, r.rolname

-- name: tablespaces
SELECT ts.oid, spcname AS name, spcowner AS owner, pg_catalog.shobj_description(ts.oid, 'pg_tablespace') AS description
FROM pg_catalog.pg_tablespace ts ORDER BY name

-- name: schemas
SELECT nsp.oid, nsp.nspname AS name, pg_catalog.has_schema_privilege(nsp.oid, 'CREATE') AS can_create,
    pg_catalog.has_schema_privilege(nsp.oid, 'USAGE') AS has_usage, des.description
FROM pg_catalog.pg_namespace nsp
LEFT OUTER JOIN pg_catalog.pg_description des ON (des.objoid = nsp.oid AND des.classoid = 'pg_namespace'::regclass)
WHERE nspname NOT LIKE E'pg\\_%' AND NOT ((nsp.nspname = 'pg_catalog' AND EXISTS
    (SELECT 1 FROM pg_catalog.pg_class WHERE relname = 'pg_class' AND relnamespace = nsp.oid LIMIT 1))
    OR (nsp.nspname = 'pgagent') OR (nsp.nspname = 'information_schema'))
ORDER BY nspname

-- name: privileges of a schema
SELECT 'nspacl' AS deftype, COALESCE(gt.rolname, 'PUBLIC') AS grantee, g.rolname AS grantor,
    pg_catalog.array_agg(b.privilege_type) AS privileges, pg_catalog.array_agg(b.is_grantable) AS grantable
FROM (SELECT (d).grantee AS grantee, (d).grantor AS grantor, (d).is_grantable AS is_grantable,
    CASE (d).privilege_type WHEN 'CREATE' THEN 'C' WHEN 'USAGE' THEN 'U' ELSE 'UNKNOWN - ' || (d).privilege_type
    END AS privilege_type FROM (SELECT pg_catalog.aclexplode(nsp.nspacl) AS d FROM pg_catalog.pg_namespace nsp
    WHERE nsp.oid = {schema}::OID) a) b
LEFT JOIN pg_catalog.pg_roles g ON (b.grantor = g.oid)
LEFT JOIN pg_catalog.pg_roles gt ON (b.grantee = gt.oid) GROUP BY g.rolname, gt.rolname

-- name: tables of a schema
SELECT rel.oid, rel.relname AS name, (SELECT pg_catalog.count(*) FROM pg_catalog.pg_trigger WHERE tgrelid = rel.oid
    AND tgisinternal = FALSE) AS triggercount, (SELECT pg_catalog.count(*) FROM pg_catalog.pg_trigger WHERE tgrelid = rel.oid
    AND tgisinternal = FALSE AND tgenabled = 'O') AS has_enable_triggers,
    (CASE WHEN rel.relkind = 'p' THEN true ELSE false END) AS is_partitioned,
    (SELECT count(1) FROM pg_catalog.pg_inherits WHERE inhrelid = rel.oid LIMIT 1) AS is_inherits, des.description
FROM pg_catalog.pg_class rel
LEFT OUTER JOIN pg_catalog.pg_description des ON (des.objoid = rel.oid AND des.objsubid = 0
    AND des.classoid = 'pg_class'::regclass)
WHERE rel.relkind IN ('r', 's', 't', 'p') AND rel.relnamespace = {schema}::oid AND NOT rel.relispartition
ORDER BY rel.relname

-- name: properties of a table
SELECT rel.oid, rel.relname AS name, rel.reltablespace AS spcoid, rel.relacl AS relacl_str,
    (CASE WHEN length(spc.spcname::text) > 0 OR rel.relkind = 'p' THEN spc.spcname ELSE (SELECT sp.spcname
        FROM pg_database dtb JOIN pg_tablespace sp ON dtb.dattablespace = sp.oid WHERE dtb.oid = {database}::oid) END) AS spcname,
    pg_get_userbyid(rel.relowner) AS relowner, rel.relkind, rel.relhassubclass, rel.reltuples::bigint, des.description,
    con.conname, con.conkey,
    EXISTS (SELECT 1 FROM pg_trigger JOIN pg_proc pt ON pt.oid = tgfoid AND pt.proname = 'logtrigger' JOIN pg_proc pc
        ON pc.pronamespace = pt.pronamespace AND pc.proname = 'slonyversion' WHERE tgrelid = rel.oid) AS isrepl,
    (SELECT ARRAY(SELECT CASE WHEN (nspname NOT LIKE 'pg\_%') THEN quote_ident(nspname) || '.' || quote_ident(c.relname)
        ELSE quote_ident(c.relname) END AS inherited_tables FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhparent
        JOIN pg_namespace n ON n.oid = c.relnamespace WHERE i.inhrelid = rel.oid ORDER BY inhseqno)) AS coll_inherits,
    substring(array_to_string(rel.reloptions, ',') FROM 'fillfactor=([0-9]*)') AS fillfactor,
    (substring(array_to_string(rel.reloptions, ',') FROM 'autovacuum_enabled=([a-z|0-9]*)'))::BOOL AS autovacuum_enabled,
    rel.reloptions, tst.reloptions AS toast_reloptions, rel.reloftype, rel.relrowsecurity AS rlspolicy,
    (SELECT array_agg(provider || '=' || label) FROM pg_seclabels sl1 WHERE sl1.objoid = rel.oid AND sl1.objsubid = 0) AS labels
FROM pg_class rel
LEFT OUTER JOIN pg_tablespace spc ON spc.oid = rel.reltablespace
LEFT OUTER JOIN pg_description des ON (des.objoid = rel.oid AND des.objsubid = 0 AND des.classoid = 'pg_class'::regclass)
LEFT OUTER JOIN pg_constraint con ON con.conrelid = rel.oid AND con.contype = 'p'
LEFT OUTER JOIN pg_class tst ON tst.oid = rel.reltoastrelid
WHERE rel.relkind IN ('r', 's', 't', 'p') AND rel.relnamespace = {schema}::oid AND rel.oid = {table}::oid ORDER BY rel.relname

-- name: columns
SELECT DISTINCT att.attname AS name, att.attnum AS oid, pg_catalog.format_type(ty.oid, NULL) AS datatype,
    att.attnotnull AS not_null, CASE WHEN att.atthasdef OR att.attidentity <> '' OR ty.typdefault IS NOT NULL THEN true
    ELSE false END AS has_default_val, des.description, seq.seqtypid
FROM pg_catalog.pg_attribute att
JOIN pg_catalog.pg_type ty ON ty.oid = atttypid
JOIN pg_catalog.pg_namespace tn ON tn.oid = ty.typnamespace
JOIN pg_catalog.pg_class cl ON cl.oid = att.attrelid
LEFT OUTER JOIN pg_catalog.pg_description des ON (des.objoid = att.attrelid AND des.objsubid = att.attnum
    AND des.classoid = 'pg_class'::regclass)
LEFT OUTER JOIN (pg_catalog.pg_depend JOIN pg_catalog.pg_class cs ON classid = 'pg_class'::regclass AND objid = cs.oid
    AND cs.relkind = 'S') ON refobjid = att.attrelid AND refobjsubid = att.attnum
LEFT OUTER JOIN pg_catalog.pg_sequence seq ON cs.oid = seq.seqrelid
WHERE att.attrelid = {table}::oid AND att.attnum > 0 AND att.attisdropped IS FALSE ORDER BY att.attnum

-- name: properties of columns
SELECT att.*, att.attname AS name, format_type(ty.oid, NULL) AS typname, format_type(ty.oid, att.atttypmod) AS displaytypname,
    pg_catalog.pg_get_expr(def.adbin, def.adrelid) AS defval, CASE WHEN ty.typelem > 0 THEN ty.typelem ELSE ty.oid END AS elemoid,
    (SELECT nspname FROM pg_namespace WHERE oid = ty.typnamespace) AS typnspname, ty.typstorage AS defaultstorage, des.description,
    pi.indkey, (SELECT count(1) FROM pg_type t2 WHERE t2.typname = ty.typname) > 1 AS isdup,
    CASE WHEN length(coll.collname::text) > 0 AND length(nspc.nspname::text) > 0
        THEN concat(quote_ident(nspc.nspname), '.', quote_ident(coll.collname)) ELSE '' END AS collspcname,
    EXISTS (SELECT 1 FROM pg_constraint WHERE conrelid = att.attrelid AND contype = 'f' AND att.attnum = ANY (conkey)) AS is_fk,
    (CASE WHEN (att.attnum < 1) THEN true ELSE false END) AS is_sys_column
FROM pg_attribute att
JOIN pg_type ty ON ty.oid = atttypid
LEFT OUTER JOIN pg_attrdef def ON adrelid = att.attrelid AND adnum = att.attnum
LEFT OUTER JOIN pg_description des ON (des.objoid = att.attrelid AND des.objsubid = att.attnum)
LEFT OUTER JOIN pg_index pi ON pi.indrelid = att.attrelid AND indisprimary
LEFT OUTER JOIN pg_collation coll ON att.attcollation = coll.oid
LEFT OUTER JOIN pg_namespace nspc ON coll.collnamespace = nspc.oid
WHERE att.attrelid = {table}::oid AND att.attisdropped IS FALSE ORDER BY att.attnum

-- name: constraints
SELECT ct.oid, conname AS name, condeferrable, condeferred, confupdtype, confdeltype, contype, NOT convalidated AS convalidated,
    fl.relname AS fknam, tn.nspname || '.' || tl.relname AS refnsp, pg_catalog.pg_get_constraintdef(ct.oid, true) AS body
FROM pg_catalog.pg_constraint ct
LEFT JOIN pg_catalog.pg_class fl ON fl.oid = conrelid
LEFT JOIN pg_catalog.pg_class tl ON tl.oid = confrelid
LEFT JOIN pg_catalog.pg_namespace tn ON tn.oid = tl.relnamespace
WHERE conrelid = {table}::oid ORDER BY conname

-- name: indexes
SELECT DISTINCT ON (cls.relname) cls.oid, cls.relname AS name, indrelid, indkey, indisclustered, indisvalid, indisunique,
    indisprimary, n.nspname, indnatts, cls.reltablespace AS spcoid, tab.relname AS tabname, indclass, con.oid AS conoid,
    pg_catalog.pg_get_expr(indpred, indrelid, true) AS indconstraint, am.amname,
    (SELECT array_agg(pg_catalog.pg_get_indexdef(cls.oid, n, true)) FROM generate_series(1, indnatts) n) AS cols,
    substring(array_to_string(cls.reloptions, ',') FROM 'fastupdate=([a-z]*)') AS fastupdate
FROM pg_catalog.pg_index idx
JOIN pg_catalog.pg_class cls ON cls.oid = indexrelid
JOIN pg_catalog.pg_class tab ON tab.oid = indrelid
JOIN pg_catalog.pg_namespace n ON n.oid = tab.relnamespace
JOIN pg_catalog.pg_am am ON am.oid = cls.relam
LEFT JOIN pg_catalog.pg_depend dep ON (dep.classid = cls.tableoid AND dep.objid = cls.oid AND dep.refobjsubid = '0'
    AND dep.refclassid = (SELECT oid FROM pg_catalog.pg_class WHERE relname = 'pg_constraint') AND dep.deptype = 'i')
LEFT OUTER JOIN pg_catalog.pg_constraint con ON (con.tableoid = dep.refclassid AND con.oid = dep.refobjid)
WHERE indrelid = {table}::OID AND conname IS NULL ORDER BY cls.relname

-- name: statistics of a table
-- rows: differ
SELECT seq_scan AS "Sequential scans", idx_scan AS "Index scans", n_tup_ins AS "Tuples inserted", n_live_tup AS "Live tuples",
    heap_blks_read AS "Heap blocks read", last_vacuum AS "Last vacuum", autovacuum_count AS "Autovacuum counter",
    pg_catalog.pg_relation_size(stat.relid) AS "Table size",
    CASE WHEN cl.reltoastrelid = 0 THEN NULL ELSE pg_catalog.pg_size_pretty(pg_catalog.pg_relation_size(cl.reltoastrelid)
        + COALESCE((SELECT SUM(pg_catalog.pg_relation_size(indexrelid)) FROM pg_catalog.pg_index
        WHERE indrelid = cl.reltoastrelid)::int8, 0)) END AS "Toast table size"
FROM pg_catalog.pg_stat_all_tables stat
JOIN pg_catalog.pg_statio_all_tables statio ON stat.relid = statio.relid
JOIN pg_catalog.pg_class cl ON cl.oid = stat.relid WHERE stat.relid = {table}::oid

-- name: views
SELECT c.oid, c.relname AS name, description AS comment FROM pg_catalog.pg_class c
LEFT OUTER JOIN pg_catalog.pg_description des ON (des.objoid = c.oid AND des.objsubid = 0 AND des.classoid = 'pg_class'::regclass)
WHERE c.relkind = 'v' AND c.relnamespace = {schema}::oid ORDER BY c.relname

-- name: a view's definition
SELECT c.oid, c.xmin, c.relkind, pg_catalog.pg_get_viewdef(c.oid, true) AS definition,
    (SELECT setting::boolean FROM pg_catalog.pg_settings WHERE name = 'standard_conforming_strings') AS strings
FROM pg_catalog.pg_class c WHERE c.oid = {view}::oid

-- name: functions
SELECT pr.oid, pr.proname || '(' || COALESCE(pg_catalog.pg_get_function_identity_arguments(pr.oid), '') || ')' AS name,
    lanname, pg_catalog.pg_get_userbyid(proowner) AS funcowner, description
FROM pg_catalog.pg_proc pr
JOIN pg_catalog.pg_type typ ON typ.oid = prorettype
JOIN pg_catalog.pg_language lng ON lng.oid = prolang
LEFT OUTER JOIN pg_catalog.pg_description des ON (des.objoid = pr.oid AND des.classoid = 'pg_proc'::regclass)
WHERE pr.prokind IN ('f', 'w') AND pronamespace = {schema}::oid AND typname NOT IN ('trigger', 'event_trigger') ORDER BY proname

-- name: properties of a function
-- masked: refused
SELECT pr.oid, pr.xmin, pr.prosrc, pr.prosrc AS prosrc_c, pr.pronamespace, pr.prolang, pr.procost, pr.prorows, pr.prosecdef,
    pg_catalog.pg_get_function_sqlbody(pr.oid) AS prosrc_sql, pg_catalog.pg_get_function_result(pr.oid) AS prorettypename
FROM pg_catalog.pg_proc pr WHERE pr.oid = {function}::oid

-- name: sequences
SELECT cl.oid, relname AS name, pg_catalog.pg_get_userbyid(relowner) AS seqowner, description AS comment
FROM pg_catalog.pg_class cl LEFT OUTER JOIN pg_catalog.pg_description des ON (des.objoid = cl.oid
    AND des.classoid = 'pg_class'::regclass) WHERE relkind = 'S' AND relnamespace = {schema}::oid ORDER BY relname

-- name: a sequence
SELECT last_value, is_called FROM zoo.tickets

-- name: dashboard, charts
-- rows: differ
/*pga4dash*/ SELECT 'session_stats' AS chart_name, pg_catalog.row_to_json(t) AS chart_data
FROM (SELECT (SELECT count(*) FROM pg_catalog.pg_stat_activity) AS "Total",
    (SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE state = 'idle') AS "Idle") t
UNION ALL SELECT 'tps_stats', pg_catalog.row_to_json(t)
FROM (SELECT (SELECT sum(xact_commit) + sum(xact_rollback) FROM pg_catalog.pg_stat_database
    WHERE datname = (SELECT datname FROM pg_catalog.pg_database WHERE oid = {database})) AS "Transactions") t

-- name: dashboard, sessions
-- rows: differ
/*pga4dash*/ SELECT pid, datname, usename, application_name, client_addr,
    pg_catalog.to_char(backend_start, 'YYYY-MM-DD HH24:MI:SS TZ') AS backend_start, state,
    wait_event_type || ': ' || wait_event AS wait_event, array_to_string(pg_catalog.pg_blocking_pids(pid), ', ') AS blocking_pids,
    query, backend_type,
    CASE WHEN state = 'active' THEN ROUND((extract(epoch FROM now() - query_start) / 60)::numeric, 2) ELSE 0 END AS active_since
FROM pg_catalog.pg_stat_activity
WHERE datname = (SELECT datname FROM pg_catalog.pg_database WHERE oid = {database}) ORDER BY pid

-- name: dashboard, locks
-- rows: differ
/*pga4dash*/ SELECT pid, locktype, datname, relation::regclass, page, tuple, virtualxid transactionid, classid::regclass,
    objid, objsubid, virtualtransaction, mode, granted, fastpath
FROM pg_catalog.pg_locks l LEFT OUTER JOIN pg_catalog.pg_database d ON (l.database = d.oid) ORDER BY pid, locktype

-- name: dashboard, prepared transactions
/*pga4dash*/ SELECT gid, database, owner, transaction, prepared FROM pg_catalog.pg_prepared_xacts

-- name: dashboard, configuration
SELECT name, category, setting, unit, short_desc FROM pg_catalog.pg_settings WHERE name LIKE 'enable%' ORDER BY category

-- name: completion
SELECT nspname AS schema_name, relname AS object_name FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n
ON n.oid = c.relnamespace WHERE c.relkind = ANY ('{r,p,f,v,m}') AND nspname IN ('zoo', 'public') ORDER BY 1, 2

-- name: rows of a table
SELECT * FROM zoo.keepers ORDER BY id ASC LIMIT 100
