"""Make the golden data folder of this version anew: `python -m tests.make_golden`.

A real gateway with a real database works for a moment and is killed; what it leaves is kept below `tests/golden/data`:
`<schema>.tar.xz` (journal, log, objects, spool, keys, guard.json) and `<schema>.sql` (the state database, to be read).
The keys are made from fixed words; times and random numbers are those of the day.

Run it once when `SCHEMA` in `stores/database.py` grows, and commit what is new. Files of earlier versions are never
made again: they are what old gateways left behind.
"""

from __future__ import annotations

import io
import json
import lzma
import re
import shutil
import signal
import sqlite3
import tarfile
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

import psycopg
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.support.certificates import Authority
from tests.support.evidence import Journal
from tests.support.gateway import TARGET, Gateway
from tests.support.golden import FOLDER, NODE, ORIGIN
from tests.support.postgres import ACCESS, PostgresFactory, PostgresServer
from tests.support.providers import LightProvider
from tests.support.sandbox import Sandbox
from tests.support.signing_in import sign_in
from tests.support.waiting import wait_for
from vestibule.stores.database import SCHEMA, STATE

KEY = sha256(b"vestibule golden log key").digest()
KEK = sha256(b"vestibule golden kek").digest()
APPROVAL = re.compile(r"AR-[0-9A-Z]{10}")
#: What a writer makes again, and what holds nothing.
LEFT_OUT = {"lock", "spare", "reserve"}


def main() -> None:
    """Make both files."""
    with Sandbox() as sandbox:
        authority = Authority(sandbox)
        provider = LightProvider(sandbox, authority)
        provider.start()
        gateway = Gateway(sandbox, authority, provider, {TARGET: _server(sandbox, authority)})
        _configure(gateway)
        _place_keys(gateway)
        gateway.start()
        _work(gateway)
        gateway.kill()
        _keep(gateway.data)


def _server(sandbox: Sandbox, authority: Authority) -> PostgresServer:
    """Start a database that is reached without TLS, so that the recorded policy names no file of this machine."""
    server = PostgresFactory(sandbox, authority).make(15)
    server.access = ACCESS.replace("127.0.0.1/32 reject", "127.0.0.1/32 scram-sha-256")
    server.configure()
    assert server.program is not None
    server.program.process.send_signal(signal.SIGHUP)
    return server


def _configure(gateway: Gateway) -> None:
    gateway.settings |= {"node": NODE, "log": {"origin": ORIGIN, "publish_every": "500ms"}}
    gateway.settings["journal"] = {"segment_bytes": "1MiB", "min_free": 0, "stop_free": 0}
    [server] = gateway.targets.values()
    target = gateway.policy["targets"][TARGET]
    target |= {"tls": {"mode": "disable"}, "hosts": [server.address]}
    target["credential"]["password"] = "env:CORE_PASSWORD"
    gateway.environment["CORE_PASSWORD"] = (gateway.folder / f"{TARGET}.password").read_text().strip()
    gateway.policy["guardrails"].append(
        {
            "name": "deleting takes two",
            "match": {"verbs": ["delete"]},
            "action": "hold",
            "reason": "A second person looks at what is deleted.",
            "approvers": {"groups": ["dba-managers"]},
        }
    )
    gateway.policy["masks"] = [{"name": "ssn", "columns": ["customers.ssn"], "transform": {"keep_last": 4}}]


def _place_keys(gateway: Gateway) -> None:
    for folder in (gateway.data, gateway.data / "keys"):
        folder.mkdir()
        gateway.sandbox.own(folder, 0o700)
    pem = Ed25519PrivateKey.from_private_bytes(KEY).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    gateway.sandbox.write(gateway.data / "keys" / "log.key", pem)
    gateway.sandbox.write(gateway.data / "keys" / "kek", KEK)


def _work(gateway: Gateway) -> None:
    dev1 = sign_in(gateway, "dev1")
    gateway.login("dora")

    def connect(name: str) -> psycopg.Connection[Any]:
        info = gateway.conninfo("dev1", dev1.token, TARGET, application_name=name)
        return psycopg.connect(info, autocommit=True)

    with connect("golden") as one:
        one.execute("SELECT name, ssn FROM customers ORDER BY id LIMIT 3")
        one.execute("UPDATE loans SET principal = principal + %s WHERE id = %s", (1, 3))
        _fails(one, "DROP TABLE loans")
        one.execute("BEGIN")
        asked = _fails(one, "DELETE FROM loans WHERE id = 99901")
        one.execute("ROLLBACK")
        _approve(gateway, asked)
        one.execute("DELETE FROM loans WHERE id = 99901")
        # One that is approved and not used, and one that waits.
        one.execute("BEGIN")
        _approve(gateway, _fails(one, "DELETE FROM loans WHERE id = 99902"))
        one.execute("ROLLBACK")
        one.execute("BEGIN")
        _fails(one, "DELETE FROM loans WHERE id = 99903")
        one.execute("ROLLBACK")
    Journal(gateway.data).closed_session("golden")
    published = (gateway.data / "log" / "checkpoint").read_bytes()
    wait_for(lambda: (gateway.data / "log" / "checkpoint").read_bytes() != published, "a checkpoint of it")
    open_one = connect("golden, open")
    open_one.execute("SELECT id, ssn FROM customers ORDER BY id LIMIT 5").fetchall()
    wait_for(lambda: list((gateway.data / "spool").glob("*/*.0")), "a part in the spool")


def _fails(connection: psycopg.Connection[Any], statement: str) -> str:
    try:
        connection.execute(statement)  # type: ignore[arg-type] # a literal of this file
    except psycopg.Error as error:
        found = APPROVAL.search(str(error))
        return found.group() if found else ""
    raise AssertionError(f"{statement} was not refused")


def _approve(gateway: Gateway, approval: str) -> None:
    done = gateway.cli("dora", "approvals", "approve", approval, "--comment", "golden")
    assert done.status == 0, done.output + done.errors


def _keep(data: Path) -> None:
    FOLDER.mkdir(exist_ok=True)
    with closing(sqlite3.connect(data / STATE)) as state:
        dump = "\n".join(state.iterdump())
    (FOLDER / f"{SCHEMA}.sql").write_text(f"PRAGMA user_version = {SCHEMA};\n{dump}\n")
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path in sorted(data.rglob("*")):
            if path.name not in LEFT_OUT and not path.name.startswith(STATE):
                archive.add(path, path.relative_to(data), recursive=False, filter=_plain)
    (FOLDER / f"{SCHEMA}.tar.xz").write_bytes(lzma.compress(packed.getvalue(), preset=9))
    shutil.rmtree(data)
    print(json.dumps({path.name: path.stat().st_size for path in sorted(FOLDER.iterdir())}))


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


if __name__ == "__main__":
    main()
