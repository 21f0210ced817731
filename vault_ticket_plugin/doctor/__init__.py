"""Every cause of failure that we know, tested from here in order. Nothing is changed, and no secret is shown."""
