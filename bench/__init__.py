"""Benchmarks: each runs ours and a peer in turns, in one run, and writes build/bench/NAME.json."""
