"""The configuration: a module for each table, record and reader together, and `load` for the whole."""
