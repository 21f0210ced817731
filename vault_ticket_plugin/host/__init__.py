"""What one host has: cached tickets, the lock that its processes queue on, the daemon's client, a supervised child."""
