"""The tests. A package, so that `tests.support` can be imported by them, by the demo and by benchmarks."""
