"""What a call costs, as whole processes against real servers on this machine: `scripts/bench`."""
