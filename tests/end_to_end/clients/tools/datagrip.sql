-- What DataGrip (and the database view of IntelliJ) asks when it connects and introspects, written anew from what is known
-- of it: the same catalogs, functions, casts and forms in words of our own. It speaks by the JDBC driver.
-- Known from: a server's log of version 2025.2.3 (github.com/datafusion-contrib/datafusion-postgres, issue 165), reports of
-- what other servers lacked for it (github.com/MaterializeInc/materialize, issues 9720 and 19710; github.com/crate/crate,
-- issue 12086). Its source is not public: this is the least certain of the three.

-- name: settings of the driver
SET extra_float_digits = 3

-- name: application
SET application_name = ''

-- name: version
select version()

-- name: application, once more
SET application_name = 'DataGrip 2025.2.3'

-- name: where
select current_database() as a, current_schemas(false) as b

-- name: isolation
SHOW TRANSACTION ISOLATION LEVEL

-- name: where and who
select current_database(), current_schema(), current_user

-- name: start of the server
-- rows: differ
select round(extract(epoch from pg_postmaster_start_time() at time zone 'UTC')) as startup_time

-- name: oldest transaction
-- rows: differ
select L.transactionid::varchar::bigint as transaction_id from pg_catalog.pg_locks L where L.transactionid is not null
order by pg_catalog.age(L.transactionid) desc limit 1

-- name: this transaction
-- rows: differ
select case when pg_catalog.pg_is_in_recovery() then null
    else (pg_catalog.txid_current() % (2 ^ 32)::bigint)::varchar::bigint end as current_txid

-- name: databases
select N.oid::bigint as id, datname as name, D.description, datistemplate as is_template, datallowconn as allow_connections,
    pg_catalog.pg_get_userbyid(N.datdba) as "owner"
from pg_catalog.pg_database N left join pg_catalog.pg_shdescription D on N.oid = D.objoid
order by case when datname = pg_catalog.current_database() then -1::bigint else N.oid::bigint end

-- name: schemas
select N.oid::bigint as id, N.xmin as state_number, nspname as name, D.description,
    pg_catalog.pg_get_userbyid(N.nspowner) as "owner"
from pg_catalog.pg_namespace N left join pg_catalog.pg_description D on N.oid = D.objoid
order by case when nspname = pg_catalog.current_schema() then -1::bigint else N.oid::bigint end

-- name: roles
select R.oid::bigint as role_id, rolname as role_name, rolsuper is_super, rolinherit is_inherit, rolcreaterole can_createrole,
    rolconnlimit conn_limit, rolvaliduntil valid_until, rolconfig config, D.description
from pg_catalog.pg_roles R left join pg_catalog.pg_shdescription D on D.objoid = R.oid

-- name: members of roles
select member id, roleid role_id, admin_option from pg_catalog.pg_auth_members order by id, roleid::text

-- name: tablespaces
select T.oid::bigint as id, T.spcname as name, T.xmin as state_number, pg_catalog.pg_get_userbyid(T.spcowner) as owner,
    pg_catalog.pg_tablespace_location(T.oid) as location, T.spcoptions as options, D.description as comment
from pg_catalog.pg_tablespace T left join pg_catalog.pg_shdescription D on D.objoid = T.oid

-- name: privileges of databases
select T.oid as object_id, T.datacl as acl from pg_catalog.pg_database T
union all select T.oid as object_id, T.spcacl as acl from pg_catalog.pg_tablespace T

-- name: changed since
-- rows: differ
with info as (select pg_catalog.age(xmin) as age_of from pg_catalog.pg_class where relnamespace = {schema}::oid)
select max(age_of), min(age_of) from info

-- name: kinds of a schema
select distinct T.relkind, case when T.relkind = 'v' then 'view' else 'other' end from pg_catalog.pg_class T
where T.relnamespace = {schema}::oid

-- name: objects of a schema
select T.oid as oid, T.relname as name, pg_catalog.translate(T.relkind, 'rmvpfS', 'rmvrfS') as kind, T.xmin as state_number
from pg_catalog.pg_class T where T.relnamespace in ({schema}::oid) and T.relkind in ('r', 'm', 'v', 'p', 'f', 'S')
union all select T.oid, T.typname, 'T', T.xmin from pg_catalog.pg_type T left outer join pg_catalog.pg_class C
    on T.typrelid = C.oid
where T.typnamespace in ({schema}::oid) and (T.typtype in ('d', 'e') or C.relkind = 'c'::"char"
    or (T.typtype = 'b' and (T.typelem = 0 or T.typcategory <> 'A')) or T.typtype = 'p' and not T.typisdefined)
union all select oid, collname, 'C', xmin from pg_catalog.pg_collation where collnamespace in ({schema}::oid)
union all select oid, oprname, 'O', xmin from pg_catalog.pg_operator where oprnamespace in ({schema}::oid)
union all select oid, opcname, 'c', xmin from pg_catalog.pg_opclass where opcnamespace in ({schema}::oid)
union all select oid, opfname, 'F', xmin from pg_catalog.pg_opfamily where opfnamespace in ({schema}::oid)
union all select oid, proname, case when prokind = 'a' then 'a' else 'R' end, xmin from pg_catalog.pg_proc
where pronamespace in ({schema}::oid)

-- name: sequences
select cls.xmin as sequence_state_number, sq.seqrelid as sequence_id, cls.relname as sequence_name,
    pg_catalog.format_type(sq.seqtypid, null) as data_type, sq.seqstart as start_value, sq.seqincrement as inc_value,
    sq.seqmin, sq.seqmax, sq.seqcache as cache_size, sq.seqcycle as cycle_option, pg_catalog.pg_get_userbyid(cls.relowner) as "owner"
from pg_catalog.pg_sequence sq join pg_class cls on sq.seqrelid = cls.oid where cls.relnamespace = {schema}::oid

-- name: types
select T.oid as type_id, T.xmin as type_state_number, T.typname as type_name, T.typtype as type_sub_kind,
    T.typcategory as type_category, T.typrelid as class_id, T.typbasetype as base_type_id,
    case when T.typtype in ('c', 'e') then null else pg_catalog.format_type(T.typbasetype, T.typtypmod) end as type_def,
    T.typndims as dimensions_number, T.typdefault as default_expression, T.typnotnull as mandatory,
    pg_catalog.pg_get_userbyid(T.typowner) as "owner"
from pg_catalog.pg_type T left outer join pg_catalog.pg_class C on T.typrelid = C.oid
where T.typnamespace = {schema}::oid and (T.typtype in ('d', 'e') or C.relkind = 'c'::"char") order by 1

-- name: relations
select T.relkind as table_kind, T.relname as table_name, T.oid as table_id, T.xmin as table_state_number,
    false /* T.relhasoids */ as table_with_oids, T.reltablespace as tablespace_id, T.reloptions as options,
    T.relpersistence as persistence,
    (select pg_catalog.array_agg(inhparent::bigint order by inhseqno)::varchar from pg_catalog.pg_inherits
        where T.oid = inhrelid) as ancestors,
    (select pg_catalog.array_agg(inhrelid::bigint order by inhrelid)::varchar from pg_catalog.pg_inherits
        where T.oid = inhparent) as successors,
    T.relispartition as is_partition, pg_catalog.pg_get_partkeydef(T.oid) as partition_key,
    pg_catalog.pg_get_expr(T.relpartbound, T.oid) as partition_expression, T.relam am_id,
    pg_catalog.pg_get_userbyid(T.relowner) as "owner"
from pg_catalog.pg_class T where relnamespace = {schema}::oid and relkind in ('r', 'm', 'v', 'f', 'p') order by table_kind, table_id

-- name: columns
with T as (select distinct T.oid as table_id, T.relname as table_name from pg_catalog.pg_class T, pg_catalog.pg_attribute A
    where T.relnamespace = {schema}::oid and T.relkind in ('r', 'm', 'v', 'f', 'p') and A.attrelid = T.oid)
select T.table_id, C.attnum as column_position, C.attname as column_name, C.xmin as column_state_number, C.atttypmod as type_mod,
    C.attndims as dimensions_number, pg_catalog.format_type(C.atttypid, C.atttypmod) as type_spec, C.atttypid as type_id,
    C.attnotnull as mandatory, pg_catalog.pg_get_expr(D.adbin, T.table_id) as column_default_expression,
    not C.attislocal as column_is_inherited, C.attfdwoptions as options, C.attisdropped as column_is_dropped,
    C.attidentity as identity_kind, C.attgenerated as generated
from T join pg_catalog.pg_attribute C on T.table_id = C.attrelid
left join pg_catalog.pg_attrdef D on (C.attrelid, C.attnum) = (D.adrelid, D.adnum)
where attnum > 0 order by table_id, attnum

-- name: indexes
select tab.oid table_id, tab.relkind table_kind, ind_stor.relname index_name, ind_head.indexrelid index_id, ind_stor.xmin state,
    ind_head.indisunique is_unique, ind_head.indisprimary is_primary, ind_head.indnullsnotdistinct nulls_not_distinct,
    pg_catalog.pg_get_expr(ind_head.indpred, ind_head.indrelid) as condition,
    (select pg_catalog.array_agg(inhparent::bigint order by inhseqno)::varchar from pg_catalog.pg_inherits
        where ind_stor.oid = inhrelid) as ancestors,
    ind_stor.reltablespace tablespace_id, opcmethod as access_method_id
from pg_catalog.pg_class tab
join pg_catalog.pg_index ind_head on ind_head.indrelid = tab.oid
join pg_catalog.pg_class ind_stor on tab.relnamespace = ind_stor.relnamespace and ind_stor.oid = ind_head.indexrelid
left join pg_catalog.pg_opclass on pg_opclass.oid = ANY (indclass)
where tab.relnamespace = {schema}::oid and tab.relkind in ('r', 'm', 'v', 'p') and ind_stor.relkind in ('i', 'I')

-- name: columns of indexes
select ind_stor.oid index_id, i.n, k.amname,
    pg_catalog.pg_get_indexdef(ind_stor.oid, i.n, true) as expression,
    pg_catalog.pg_index_column_has_property(ind_stor.oid, i.n, 'asc') as is_asc
from pg_catalog.pg_class ind_stor
join pg_catalog.pg_index ind on ind.indexrelid = ind_stor.oid
join pg_catalog.pg_am k on k.oid = ind_stor.relam
cross join lateral unnest(ind.indkey) with ordinality as u (column_position, place)
cross join lateral (select u.place::int as n) i
where ind_stor.relnamespace = {schema}::oid order by 1, 2

-- name: constraints
select T.oid table_id, relkind table_kind, C.oid::bigint con_id, C.xmin::varchar::bigint con_state_id, conname con_name,
    contype con_kind, conkey con_columns, conindid index_id, confrelid ref_table_id, condeferrable is_deferrable,
    condeferred is_init_deferred, confupdtype on_update, confdeltype on_delete, connoinherit no_inherit,
    pg_catalog.pg_get_expr(conbin, T.oid) con_expression, confkey ref_columns, conexclop::int[] excl_operators,
    array(select unnest::regoper::varchar from unnest(conexclop)) excl_operators_str
from pg_catalog.pg_constraint C join pg_catalog.pg_class T on C.conrelid = T.oid
where relkind in ('r', 'v', 'f', 'p') and relnamespace = {schema}::oid and contype in ('p', 'u', 'f', 'c', 'x')

-- name: routines
with languages as (select oid as lang_oid, lanname as lang from pg_catalog.pg_language),
routines as (select proname as r_name, prolang as lang_oid, oid as r_id, xmin as r_state_number,
    proargnames as arg_names, proargmodes as arg_modes, proargtypes::int[] as in_arg_types, proallargtypes::int[] as all_arg_types,
    pg_catalog.pg_get_expr(proargdefaults, 0) as arg_defaults, provariadic as arg_variadic_id, prorettype as ret_type_id,
    proretset as ret_set, prokind as kind, provolatile as volatile_kind, proisstrict as is_strict, prosecdef as is_security_definer,
    proconfig as configuration_parameters, procost as cost, pg_catalog.pg_get_userbyid(proowner) as "owner", prorows as rows,
    proleakproof as is_leakproof, proparallel as concurrency_kind
    from pg_catalog.pg_proc where pronamespace = {schema}::oid and not (prokind = 'a'))
select * from routines natural join languages

-- name: sources of routines
-- masked: refused
with system_languages as (select oid as lang from pg_catalog.pg_language where lanname in ('c', 'internal'))
select PC.oid as id, pg_catalog.pg_get_function_arguments(PC.oid) as arguments_def,
    pg_catalog.pg_get_function_result(PC.oid) as result_def, pg_catalog.pg_get_function_sqlbody(PC.oid) as sqlbody_def,
    PC.prosrc as source_text
from pg_catalog.pg_proc PC where PC.pronamespace = {schema}::oid and not PC.prokind = 'a'
    and PC.prolang not in (select lang from system_languages) and PC.prosrc is not null

-- name: aggregates
select P.oid as aggregate_id, P.xmin as state_number, P.proname as aggregate_name, P.proargnames as arg_names,
    P.proargtypes::int[] as in_arg_types, A.aggtransfn::oid as transition_function_id, A.aggtransfn::regproc::text as function_name,
    A.aggtranstype as transition_type, A.agginitval as initial_value, A.aggsortop as sort_operator_id,
    case when A.aggsortop = 0 then null else A.aggsortop::regoper::varchar end as sort_operator_name
from pg_catalog.pg_aggregate A join pg_catalog.pg_proc P on A.aggfnoid = P.oid where P.pronamespace = {schema}::oid
order by P.oid

-- name: operators
select O.oid as op_id, O.xmin as state_number, oprname as op_name, oprkind as op_kind, oprleft as arg_left_type_id,
    oprright as arg_right_type_id, oprresult as arg_result_type_id, oprcode::oid as main_id, oprcode::varchar as main_name,
    oprcom as com_id, oprcom::regoper::varchar as com_name, pg_catalog.pg_get_userbyid(O.oprowner) as "owner"
from pg_catalog.pg_operator O where oprnamespace = {schema}::oid

-- name: rules
select R.ev_class as table_id, R.oid as rule_id, R.xmin as rule_state_number, R.rulename as rule_name,
    pg_catalog.translate(ev_type, '1234', 'SUID') as rule_event_code, R.ev_enabled as rule_fire_mode, R.is_instead as rule_is_instead
from pg_catalog.pg_rewrite R where R.ev_class in (select oid from pg_catalog.pg_class where relnamespace = {schema}::oid)
    and R.rulename != '_RETURN'::name order by R.ev_class::bigint, ev_type

-- name: triggers
select T.tgrelid as table_id, T.oid as trigger_id, T.xmin as trigger_state_number, T.tgname as trigger_name,
    T.tgfoid as function_id, pg_catalog.encode(T.tgargs, 'escape') as function_args, T.tgtype as bits, T.tgdeferrable,
    T.tginitdeferred, T.tgenabled as trigger_fire_mode, T.tgattr as columns, T.tgconstraint != 0 as is_constraint,
    pg_catalog.pg_get_triggerdef(T.oid, true) as source_code
from pg_catalog.pg_trigger T where T.tgrelid in (select oid from pg_catalog.pg_class where relnamespace = {schema}::oid)
    and not T.tgisinternal

-- name: policies
select P.oid id, P.xmin as state_number, polname policyname, polrelid table_id, polpermissive as permissive,
    polroles roles, polcmd cmd, pg_catalog.pg_get_expr(polqual, polrelid) qual
from pg_catalog.pg_policy P join pg_catalog.pg_class C on P.polrelid = C.oid where relnamespace = {schema}::oid order by polrelid

-- name: descriptions
select D.objoid id, C.relkind::char as kind, D.objsubid sub_id, D.description
from pg_catalog.pg_description D join pg_catalog.pg_class C on D.objoid = C.oid
where C.relnamespace = {schema}::oid and C.relkind != 'c' and D.classoid = 'pg_catalog.pg_class'::regclass
union all select D.objoid, 'F', D.objsubid, D.description from pg_catalog.pg_description D
join pg_catalog.pg_proc P on D.objoid = P.oid where P.pronamespace = {schema}::oid
    and D.classoid = 'pg_catalog.pg_proc'::regclass

-- name: sources of views
select T.relkind as view_kind, T.oid as view_id, pg_catalog.pg_get_viewdef(T.oid, true) as source_text
from pg_catalog.pg_class T join pg_catalog.pg_namespace N on T.relnamespace = N.oid
where N.oid = {schema}::oid and T.relkind in ('m', 'v')

-- name: grants
select T.oid as object_id, T.relacl as acl from pg_catalog.pg_class T where relnamespace = {schema}::oid and relacl is not null
order by object_id

-- name: grants on columns
select T.attrelid as object_id, T.attnum, T.attacl as acl from pg_catalog.pg_attribute T join pg_catalog.pg_class C
    on C.oid = T.attrelid where T.attacl is not null and C.relnamespace = {schema}::oid

-- name: extensions
select E.oid as id, E.xmin as state_number, extname as name, extversion as version, extnamespace as schema_id, nspname,
    array(select unnest from unnest(available_versions) where unnest > extversion) as available_updates
from pg_catalog.pg_extension E join pg_namespace N on E.extnamespace = N.oid
left join (select name, array_agg(version) as available_versions from pg_available_extension_versions() group by name) V
    on E.extname = V.name

-- name: foreign tables
select ft.ftrelid as table_id, srv.srvname as table_server, ft.ftoptions as table_options,
    pg_catalog.pg_get_userbyid(cls.relowner) as "owner"
from pg_catalog.pg_foreign_table ft left outer join pg_catalog.pg_foreign_server srv on ft.ftserver = srv.oid
join pg_catalog.pg_class cls on ft.ftrelid = cls.oid where cls.relnamespace = {schema}::oid order by ft.ftrelid

-- name: user mappings
-- masked: hidden
select oid, umserver as server_id, umuser, usename as user, umoptions as options
from (select umid as oid, srvid as umserver, umuser, usename, umoptions from pg_catalog.pg_user_mappings) um

-- name: rows of a table
SELECT t.* FROM zoo.keepers t LIMIT 501
