"""Real servers and simulated hosts for the tests: OpenBao, the Ticket API's emulator, another one's OAuth server."""
