"""The token endpoint (RFC 6749): the request, and what its answers mean."""
