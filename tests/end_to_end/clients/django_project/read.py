"""Read a table with masked columns by the ORM; what came of it is printed as JSON."""

import json
import os
import sys
from collections.abc import Callable

import django
from django.db import DatabaseError, connection, transaction

os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
django.setup()

from branch.models import Author, Customer  # noqa: E402  # models need the settings


def refusal(ask: Callable[[], object]) -> str:
    """Give the code with which something is refused."""
    try:
        with transaction.atomic():
            ask()
    except DatabaseError as error:
        return str(error.__cause__.sqlstate)
    return ""


def unstreamed() -> int:
    """Iterate without cursors of the server's, as a setting of Django's has it."""
    connection.settings_dict["DISABLE_SERVER_SIDE_CURSORS"] = True
    return sum(1 for _ in Customer.objects.iterator())


def migrate() -> None:
    """Make a table, as a migration would."""
    with connection.schema_editor() as editor:
        editor.create_model(Author)


def main() -> None:
    """Read."""
    ada = Customer.objects.get(pk=1)
    found = {
        "row": [ada.ssn, ada.email, ada.born, ada.state],
        "all": len(Customer.objects.order_by("id")),
        "compared": refusal(lambda: Customer.objects.filter(ssn="078-05-1120").exists()),
        "streamed": refusal(lambda: list(Customer.objects.iterator())),
        "unstreamed": unstreamed(),
        "migrated": refusal(migrate),
        "usable": Customer.objects.count(),
    }
    sys.stdout.write(json.dumps(found))


main()
