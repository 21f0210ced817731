"""The room `vault`, one file a module."""
