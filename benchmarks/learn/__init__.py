"""Learning benchmarks: one file for each table, each with ``tables(options)``, which yields parts of a page in markdown."""
