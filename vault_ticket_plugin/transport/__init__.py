"""One HTTP exchange with a hard end."""
