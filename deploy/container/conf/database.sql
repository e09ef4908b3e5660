-- Run once, when the trial's database is made. The password is set by deploy/container/prepare.
\set password `cat /tls/core.password`
CREATE ROLE vestibule_rw LOGIN PASSWORD :'password' NOSUPERUSER NOCREATEDB NOCREATEROLE;
CREATE TABLE customers (id integer PRIMARY KEY, name text NOT NULL, ssn text NOT NULL);
INSERT INTO customers VALUES (1, 'Ada Brookfield', '078-05-1120'), (2, 'Emil Eastly', '219-09-9999');
GRANT SELECT, INSERT, UPDATE, DELETE ON customers TO vestibule_rw;
