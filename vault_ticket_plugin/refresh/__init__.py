"""The refresh transaction and the documents that it reads and writes. It knows only ports."""
