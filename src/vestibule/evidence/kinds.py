"""The members of each kind's body, in the order in which they are stored after `salt`.

A name with `?` may be absent. Members whose subject comes later (masks, agents, locks) are known already,
so that a body written then is read by the same table.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from vestibule.evidence.members import (
    Check,
    boolean,
    count,
    counts,
    document,
    either,
    hex32,
    integer,
    many,
    moment,
    one_of,
    shape,
    text,
    uuid,
)
from vestibule.model.record import Kind

#: How many parameters and operations a StatementDecided lists; `parameters_more` and `ops_more` count the rest.
PARAMETERS_LIMIT: Final = 256
OPERATIONS_LIMIT: Final = 64

WHO = shape(
    {"iss": text, "sub": text, "name": text, "type": one_of("human", "agent", "workload"), "login": uuid},
)
PROOF = shape(
    {
        "method": text,
        "credential?": text,
        "amr?": many(text),
        "acr?": text,
        "auth_time?": moment,
        "assurance?": text,
    }
)
PEER = shape({"ip": text, "port": count, "host?": text})
RULE = shape({"name": text, "section": one_of("access", "guardrails", "masks", "default"), "policy": hex32})
REF = shape({"id": uuid, "leaf": hex32})
OBJECT = shape(
    {
        "sha256": hex32,
        "bytes": count,
        "plain_salt": text,
        "plain_sha256": hex32,
        "plain_bytes": count,
        "key": uuid,
    }
)
OPERATION = shape(
    {"verb": text, "object?": text, "impact": one_of("read", "write", "schema", "admin", "unknown")},
)
TLS = shape({"version": text, "cipher": text, "certificate?": hex32})
CLOCK = shape({"source": text, "offset_us?": integer, "synced": boolean})
DECISION = one_of("allow", "deny", "hold")

_ACCESS_DECIDED: Final[Mapping[str, Check]] = {
    "who?": WHO,
    "attempted?": text,
    "proof?": PROOF,
    "client": PEER,
    "protocol": text,
    "target?": text,
    "role?": text,
    "decision": DECISION,
    "rule?": RULE,
    "cause?": text,
    "groups?": many(text),
    "count?": count,
}

_SESSION_OPENED: Final[Mapping[str, Check]] = {
    "access": REF,
    "who": WHO,
    "chain?": many(
        shape({"who": WHO, "client_id": text, "instance?": text, "model?": text, "model_version?": text}), 4
    ),
    "proof": PROOF,
    "groups?": many(text),
    "run?": shape({"id": text, "purpose?": text, "ticket?": text, "expires_at": moment}),
    "sponsor?": WHO,
    "reason?": text,
    "ticket?": text,
    "client": PEER,
    "client_banner?": text,
    "device?": shape({"id": text, "posture?": text}),
    "protocol": text,
    "target": text,
    "target_peer?": PEER,
    "target_account": text,
    "target_role?": text,
    "target_session?": shape(
        {"pid?": count, "local_port?": count, "certificate_key_id?": text, "certificate_serial?": text}
    ),
    "database?": text,
    "tls?": shape({"client?": TLS, "target?": TLS}),
    "policy": hex32,
    "mask_tier?": one_of("A", "B", "C"),
    "mask_check?": text,
    "mode?": text,
    "release?": one_of("journal", "cosigned"),
    "recording?": shape(
        {
            "terminal?": boolean,
            "results": one_of("masked", "digest", "none"),
            "input?": one_of("keys", "echoed", "off"),
        }
    ),
    "privileged?": boolean,
    "vendor?": boolean,
    "data_key": uuid,
    "ends_at": moment,
    "break_glass?": REF,
}

_SESSION_CLOSED: Final[Mapping[str, Check]] = {
    "opened": REF,
    "cause": one_of(
        "client_closed",
        "target_closed",
        "login_expired",
        "revoked",
        "killed",
        "idle",
        "max_time",
        "shutdown",
        "crash",
        "evidence_fault",
        "protocol_error",
    ),
    "by?": text,
    "duration_us?": count,
    "statements?": count,
    "allowed?": count,
    "denied?": count,
    "held?": count,
    "rows?": count,
    "values_masked?": count,
    "bytes_to_client?": count,
    "bytes_to_target?": count,
    "chunks?": counts,
    "files?": count,
    "last_sn?": count,
    "recording_complete?": boolean,
    "gaps?": many(shape({"from": moment, "to": moment, "bytes?": count, "cause": text})),
}

_IDENTITY_EVENT: Final[Mapping[str, Check]] = {
    "event": one_of(
        "login_ok",
        "login_failed",
        "logout",
        "token_issued",
        "token_revoked",
        "revocation_received",
        "sessions_cut",
    ),
    "who?": WHO,
    "attempted?": text,
    "count?": count,
    "source": one_of("oidc", "saml", "scim", "caep", "backchannel", "probe", "admin"),
    "proof?": PROOF,
    "client?": PEER,
    "failure?": text,
    "sessions?": many(uuid),
    "latency_ms?": count,
}

_STATEMENT_DECIDED: Final[Mapping[str, Check]] = {
    "statement": uuid,
    "no": count,
    "dialect": text,
    "text=": text,
    "text_bytes": count,
    "lossy?": boolean,
    "text_object?": OBJECT,
    "parameters?": many(
        shape(
            {
                "type": either(count, text),
                "value?": text,
                "null?": boolean,
                "bytes?": count,
                "lossy?": boolean,
            }
        ),
        PARAMETERS_LIMIT,
    ),
    "parameters_more?": count,
    "fingerprint?": text,
    "text_mac": hex32,
    "bytes_mac": hex32,
    "bind_key": uuid,
    "ops?": many(OPERATION, OPERATIONS_LIMIT),
    "ops_more?": count,
    "catalog?": hex32,
    "decision": DECISION,
    "rule": RULE,
    "cause?": text,
    "mask_plan?": shape(
        {
            "tier": text,
            "form": text,
            "digest": hex32,
            "columns?": many(
                shape({"name": text, "origin?": text, "transform": text, "rule?": text, "version?": text})
            ),
        }
    ),
    "clear_by?": many(text),
    "limits?": shape({"rows?": count, "bytes?": count, "expires_at?": moment}),
    "flags?": many(text),
    "kubernetes?": shape(
        {
            "verb": text,
            "group?": text,
            "resource?": text,
            "subresource?": text,
            "namespace?": text,
            "name?": text,
            "dry_run?": boolean,
            "audit_id?": text,
        }
    ),
    "ssh?": shape({"channel": count, "request": text, "certainty": one_of("exact", "reconstructed", "uncertain")}),
    "agent?": shape(
        {
            "client_id": text,
            "aud?": text,
            "server?": text,
            "tool?": text,
            "scopes?": many(text),
            "traceparent?": text,
            "run?": text,
        }
    ),
}

_RESULT = shape(
    {
        "columns?": many(
            shape(
                {
                    "name": text,
                    "origin?": text,
                    "transform": text,
                    "rule?": text,
                    "rule_version?": text,
                    "clear_by?": text,
                    "seen": count,
                    "masked": count,
                    "passed": count,
                    "nulls": count,
                }
            )
        ),
        "rows": count,
        "bytes": count,
        "disclosed_mac?": hex32,
        "recorded?": one_of("full", "truncated", "digest", "none"),
        "recorded_rows?": count,
        "chunks?": many(count, 2),
        "tripwire_hits?": count,
    }
)

_STATEMENT_FINISHED: Final[Mapping[str, Check]] = {
    "decided": REF,
    "outcome": one_of("ok", "error", "cancelled", "not_reached", "refused", "unknown"),
    "forwarded": boolean,
    "rows?": count,
    "bytes_to_client?": count,
    "bytes_from_target?": count,
    "duration_us?": count,
    "evidence_wait_us?": count,
    "hold_us?": count,
    "error?": shape({"code": text, "text?": text, "lossy?": boolean}),
    "transaction?": one_of("I", "T", "E"),
    "audit_id?": text,
    "results?": many(_RESULT),
    "detectors?": text,
}

_CHUNK_SEALED: Final[Mapping[str, Check]] = {
    "stream": one_of("terminal", "results", "statement"),
    "seq": count,
    "object": OBJECT,
    "stores?": many(
        shape(
            {
                "store": text,
                "version?": text,
                "lock?": one_of("compliance", "governance"),
                "retain_until?": moment,
            }
        )
    ),
    "first_us": count,
    "last_us": count,
    "events": count,
    "statements?": many(count, 2),
    "masked_in_store?": count,
    "scan_hits?": count,
    "replaced_bytes?": count,
    "recovered": boolean,
}

_APPROVAL_REQUESTED: Final[Mapping[str, Check]] = {
    "approval": text,
    "decided?": REF,
    "scope": one_of("statement", "session", "runbook", "unmask", "break_glass", "disposal", "unseal", "policy"),
    "requester": WHO,
    "sponsor?": WHO,
    "text=": text,
    "ops?": many(OPERATION, OPERATIONS_LIMIT),
    "ops_more?": count,
    "estimate?": shape({"rows": count}),
    "bytes_mac": hex32,
    "bind_key": uuid,
    "volatile?": many(text),
    "approvers": many(text),
    "quorum": count,
    "expires_at": moment,
    "channels?": many(text),
    "reason?": text,
    "ticket?": text,
}

_APPROVAL_ANSWERED: Final[Mapping[str, Check]] = {
    "request": REF,
    "answer": one_of("granted", "refused", "expired", "withdrawn"),
    "approver?": WHO,
    "proof?": PROOF,
    "four_eyes?": shape(
        {"not_requester": boolean, "not_sponsor": boolean, "not_agent_owner": boolean, "group": text},
    ),
    "granted_so_far": count,
    "channel?": one_of("cli", "api", "web"),
    "shown_mac?": hex32,
    "assertion?": shape({"credential": text, "client_data": text, "authenticator_data": text, "signature": text}),
    "comment?": text,
    "permit?": shape({"id": uuid, "uses": count, "expires_at": moment}),
    "latency_ms": count,
}

_PERMIT_USED: Final[Mapping[str, Check]] = {
    "permit": uuid,
    "request": REF,
    "answers": many(REF),
    "decided": REF,
    "bytes_mac": hex32,
    "bind_key": uuid,
    "volatile?": many(text),
    "equal": boolean,
    "result": one_of("spent", "refused"),
    "uses_left": count,
}

_POLICY_APPLIED: Final[Mapping[str, Check]] = {
    "policy": hex32,
    "previous?": hex32,
    "text": either(document, OBJECT),
    "diff?": either(document, OBJECT),
    "author?": WHO,
    "approver?": WHO,
    "source": one_of("file", "api", "git"),
    "effective_at": moment,
    "simulation?": shape({"records": count, "changed": count}),
}

_EVIDENCE_VIEWED: Final[Mapping[str, Check]] = {
    "viewer": WHO,
    "proof?": PROOF,
    "action": one_of("search", "open", "replay", "download", "api", "unseal"),
    "query?": text,
    "sessions?": many(uuid),
    "leaf_range?": many(count, 2),
    "profile?": text,
    "purpose?": text,
}

_NODE_STARTED: Final[Mapping[str, Check]] = {
    "version": text,
    "image_digest?": text,
    "config_sha256?": hex32,
    "sbom_sha256?": hex32,
    "build?": one_of("pure", "compiled"),
    "python": text,
    "previous?": shape({"epoch": count, "n": count, "leaf": hex32}),
    "clean": boolean,
    "recovered?": shape(
        {"sessions?": count, "statements_unknown?": count, "spool_bytes?": count, "torn_bytes?": count}
    ),
    "clock?": CLOCK,
}

_NODE_STOPPED: Final[Mapping[str, Check]] = {
    "cause": one_of("operator", "upgrade", "fault"),
    "open_sessions": count,
    "queue_empty": boolean,
}

_HEARTBEAT: Final[Mapping[str, Check]] = {
    "beat": count,
    "tree_size?": count,
    "published_size?": count,
    "cosigned_size?": count,
    "sessions_open": count,
    "sessions_digest": hex32,
    "queue_depth?": count,
    "journal_free_bytes?": count,
    "spool_bytes?": count,
    "object_lag_s?": count,
    "mono_us?": count,
    "clock?": CLOCK,
    "last_token_sha256?": hex32,
    "sinks?": many(shape({"name": text, "next": count, "lag_s": count})),
}

_AUDIT_FAULT: Final[Mapping[str, Check]] = {
    "fault": one_of(
        "journal_full",
        "journal_down",
        "journal_inconsistent",
        "object_store_down",
        "object_lock_missing",
        "spool_full",
        "witness_unreachable",
        "witness_conflict",
        "tsa_unreachable",
        "signer_down",
        "storage_mask_leak",
        "self_audit_mismatch",
        "sink_stalled",
        "rolled_back",
    ),
    "phase": one_of("started", "ended"),
    "since?": moment,
    "refused?": shape({"sessions": count, "statements": count}),
    "detail?": text,
}

_LOG_GENESIS: Final[Mapping[str, Check]] = {
    "origin": text,
    "generation": count,
    "vkey": text,
    "previous?": shape({"origin": text, "checkpoint": text}),
    "reason?": text,
}

#: The check of each kind's members.
BODY: Final[Mapping[Kind, Check]] = {
    Kind.ACCESS_DECIDED: shape(_ACCESS_DECIDED),
    Kind.SESSION_OPENED: shape(_SESSION_OPENED),
    Kind.SESSION_CLOSED: shape(_SESSION_CLOSED),
    Kind.IDENTITY_EVENT: shape(_IDENTITY_EVENT),
    Kind.STATEMENT_DECIDED: shape(_STATEMENT_DECIDED),
    Kind.STATEMENT_FINISHED: shape(_STATEMENT_FINISHED),
    Kind.CHUNK_SEALED: shape(_CHUNK_SEALED),
    Kind.APPROVAL_REQUESTED: shape(_APPROVAL_REQUESTED),
    Kind.APPROVAL_ANSWERED: shape(_APPROVAL_ANSWERED),
    Kind.PERMIT_USED: shape(_PERMIT_USED),
    Kind.POLICY_APPLIED: shape(_POLICY_APPLIED),
    Kind.EVIDENCE_VIEWED: shape(_EVIDENCE_VIEWED),
    Kind.NODE_STARTED: shape(_NODE_STARTED),
    Kind.NODE_STOPPED: shape(_NODE_STOPPED),
    Kind.HEARTBEAT: shape(_HEARTBEAT),
    Kind.AUDIT_FAULT: shape(_AUDIT_FAULT),
    Kind.LOG_GENESIS: shape(_LOG_GENESIS),
}
