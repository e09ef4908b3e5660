"""The smallest project with a database: where it is and who comes in is told by the environment."""

import os

SECRET_KEY = "of the tests only"
INSTALLED_APPS = ["branch"]
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": os.environ["BANK_HOST"],
        "PORT": os.environ["BANK_PORT"],
        "USER": os.environ["BANK_USER"],
        "PASSWORD": os.environ["BANK_PASSWORD"],
        "NAME": os.environ["BANK_NAME"],
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {"sslmode": "verify-full", "sslrootcert": os.environ["BANK_CA"]},
    }
}
