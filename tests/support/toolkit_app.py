"""django-oauth-toolkit in one process, told by its command line; `toolkit.py` starts it.

Serves `/o/` (the toolkit's own views), `/tickets` behind an access token and, for the tests, `/new-grant`.
"""

import argparse
import json
import sys
import uuid
from datetime import timedelta
from pathlib import Path
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import django
from django.conf import settings

CLIENT_ID = "helper"


class Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    request_queue_size = 256


class Quiet(WSGIRequestHandler):
    def log_message(self, *_: object) -> None: ...


def configure(folder: Path, lifetime: int, grace: int, reuse_protection: bool) -> None:
    settings.configure(
        SECRET_KEY="made up",
        ALLOWED_HOSTS=["127.0.0.1"],
        ROOT_URLCONF=__name__,
        USE_TZ=True,
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "oauth2_provider"],
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": folder / "db.sqlite3",
                "OPTIONS": {"timeout": 30, "transaction_mode": "IMMEDIATE"},
            }
        },
        OAUTH2_PROVIDER={
            "ACCESS_TOKEN_EXPIRE_SECONDS": lifetime,
            "ROTATE_REFRESH_TOKEN": True,
            "REFRESH_TOKEN_GRACE_PERIOD_SECONDS": grace,
            "REFRESH_TOKEN_REUSE_PROTECTION": reuse_protection,
        },
    )
    django.setup()


def prepare() -> None:
    """The tables, a user and a public client."""
    from django.contrib.auth.models import User
    from django.core.management import call_command
    from oauth2_provider.models import Application

    call_command("migrate", verbosity=0)
    Application.objects.create(
        client_id=CLIENT_ID,
        client_type=Application.CLIENT_PUBLIC,
        authorization_grant_type=Application.GRANT_AUTHORIZATION_CODE,
        redirect_uris="https://localhost/unused",
        user=User.objects.create(username="a person"),
    )


def new_grant() -> str:
    """What the authorization code flow would end with."""
    from django.utils import timezone
    from oauth2_provider.models import AccessToken, Application, RefreshToken

    application = Application.objects.get(client_id=CLIENT_ID)
    whose = {"user": application.user, "application": application}
    access = AccessToken.objects.create(
        **whose, token=uuid.uuid4().hex, expires=timezone.now() + timedelta(hours=1), scope="read"
    )
    token = uuid.uuid4().hex
    RefreshToken.objects.create(**whose, token=token, access_token=access, token_family=uuid.uuid4())
    return token


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--lifetime", type=int, default=3600)
    parser.add_argument("--grace", type=int, default=0)
    parser.add_argument("--reuse-protection", action="store_true")
    asked = parser.parse_args()
    configure(asked.folder, asked.lifetime, asked.grace, asked.reuse_protection)
    prepare()

    from django.core.wsgi import get_wsgi_application
    from django.http import HttpRequest, HttpResponse
    from django.urls import include, path
    from oauth2_provider.decorators import protected_resource

    def tickets(_: HttpRequest) -> HttpResponse:
        return HttpResponse(json.dumps({"tickets": []}), content_type="application/json")

    def grant(_: HttpRequest) -> HttpResponse:
        return HttpResponse(new_grant())

    sys.modules[__name__].__dict__["urlpatterns"] = [
        path("o/", include("oauth2_provider.urls", namespace="oauth2_provider")),
        path("tickets", protected_resource(scopes=["read"])(tickets)),
        path("new-grant", grant),
    ]
    make_server("127.0.0.1", asked.port, get_wsgi_application(), Server, Quiet).serve_forever()


if __name__ == "__main__":
    main()
