"""Where statements go, and what a commitment to one of them covers."""

from __future__ import annotations

from dataclasses import dataclass

from vestibule.evidence import commitment
from vestibule.model.statement import Statement
from vestibule.model.target import Target


@dataclass(frozen=True, slots=True)
class Place:
    """Where statements go: what a commitment covers besides the statement itself."""

    protocol: str
    target: Target
    database: str
    search_path: str


def committed(place: Place, statement: Statement) -> list[tuple[int, bytes]]:
    """List the fields of a commitment: the exact bytes of a statement, and where they go."""
    fields = [
        (commitment.PROTOCOL, place.protocol.encode()),
        (commitment.TARGET, place.target.name.encode()),
        (commitment.ACCOUNT, place.target.credential.username.encode()),
        (commitment.DATABASE, place.database.encode()),
        (commitment.PINNED, place.search_path.encode()),
        *([(commitment.CATALOG, statement.catalog.encode())] if statement.catalog else []),
        (commitment.TEXT, statement.text),
        *((commitment.MEANING, text) for text in statement.meaning),
        *(commitment.parameter_field(parameter.value) for parameter in statement.parameters),
    ]
    if statement.parameter_formats:
        fields.append(commitment.formats_field(commitment.PARAMETER_FORMATS, statement.parameter_formats))
    if statement.result_formats:
        fields.append(commitment.formats_field(commitment.RESULT_FORMATS, statement.result_formats))
    if any(statement.parameter_types):
        fields.append(commitment.types_field(statement.parameter_types))
    return fields
