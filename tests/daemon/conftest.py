"""The site of the end-to-end tests, for the daemon's."""

from tests.e2e.conftest import site as site
