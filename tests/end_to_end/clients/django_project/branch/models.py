"""Models with what an ordinary application has: keys of several kinds, constraints, indexes, JSON, an array."""

from django.contrib.postgres.fields import ArrayField
from django.db import models


class Author(models.Model):
    """Somebody who writes."""

    name = models.CharField(max_length=80, unique=True)


class Book(models.Model):
    """What they write."""

    title = models.CharField(max_length=200, db_index=True)
    authors = models.ManyToManyField(Author)
    about = models.JSONField(default=dict)
    labels = ArrayField(models.TextField(), default=list)
    price = models.DecimalField(max_digits=8, decimal_places=2)
    added = models.DateTimeField(auto_now_add=True)
    # pages = models.IntegerField(default=0)

    class Meta:
        """Constraints and indexes."""

        constraints = [  # noqa: RUF012  # Django's own form
            models.CheckConstraint(condition=models.Q(price__gt=0), name="price_positive"),
            models.UniqueConstraint(fields=["title"], name="title_once"),
        ]
        indexes = [models.Index(fields=["-added"], name="newest_first")]  # noqa: RUF012  # the same


class Loan(models.Model):
    """Who has it."""

    book = models.ForeignKey(Book, on_delete=models.CASCADE, related_name="loans")
    until = models.DateField(null=True)


class Customer(models.Model):
    """A table of the bank's, which Django does not manage."""

    id = models.IntegerField(primary_key=True)
    name = models.TextField()
    ssn = models.TextField()
    email = models.TextField()
    born = models.DateField()
    state = models.CharField(max_length=2)

    class Meta:
        """It is there already."""

        managed = False
        db_table = "customers"
