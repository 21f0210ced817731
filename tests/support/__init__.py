"""Real servers and simulated hosts for the tests, the demo and the benchmarks."""
