"""The programs that call us, with what docs/formats.md tells their users to configure."""
