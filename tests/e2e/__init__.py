"""The real program against the real server and the emulator."""
