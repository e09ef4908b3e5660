"""An ordinary session of work with the ORM; what came of it is printed as JSON."""

import json
import os
import sys

import django
from django.db import DatabaseError, connection, transaction
from django.db.models import Count, F

os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
django.setup()

from branch.models import Author, Book, Loan  # noqa: E402  # models need the settings


def refusal() -> str:
    """Try what the policy does not allow; give the code of the refusal."""
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("DO 'BEGIN END'")
    except DatabaseError as error:
        return str(error.__cause__.sqlstate)
    return ""


def main() -> None:
    """Work."""
    ada, bo = (Author.objects.create(name=name) for name in ("Ada", "Bo"))
    books = [
        Book(title=f"book {n}", price=n + 1, about={"n": n}, labels=["even"] if n % 2 == 0 else ["odd", "x"])
        for n in range(500)
    ]
    made = Book.objects.bulk_create(books, batch_size=200)
    made[0].authors.add(ada, bo)
    Loan.objects.create(book=made[0])
    try:
        with transaction.atomic():
            Author.objects.create(name="lost")
            with transaction.atomic():
                Author.objects.create(name="lost too")
            raise ZeroDivisionError
    except ZeroDivisionError:
        pass
    with transaction.atomic():
        Author.objects.create(name="kept")
        locked = Book.objects.select_for_update().order_by("id").first()
        Book.objects.filter(pk=locked.pk).update(price=F("price") + 1)
    Author.objects.bulk_create(
        [Author(name="Ada")], update_conflicts=True, unique_fields=["name"], update_fields=["name"]
    )
    again, _ = Book.objects.update_or_create(title="book 1", defaults={"about": {"said": "again"}})
    found = {
        "made": Book.objects.count(),
        "joined": sorted(Book.objects.get(title="book 0").authors.values_list("name", flat=True)),
        "json": list(Book.objects.filter(about__n=7).values_list("title", flat=True)),
        "array": Book.objects.filter(labels__contains=["x"]).aggregate(n=Count("id"))["n"],
        # Outside a transaction Django declares such a cursor WITH HOLD.
        "streamed": sum(1 for _ in Book.objects.iterator(chunk_size=60)),
        "kept": Author.objects.filter(name="kept").exists(),
        "lost": Author.objects.filter(name__startswith="lost").exists(),
        "locked": locked.title,
        "upserted": again.about["said"],
        "deleted": made[0].delete()[1]["branch.Book_authors"],
        "refused": refusal(),
    }
    with connection.cursor() as cursor:
        cursor.execute("SELECT 41 + 1")
        found["usable"] = cursor.fetchone()[0]
    sys.stdout.write(json.dumps(found))


main()
