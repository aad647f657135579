"""How well it learns: one file a table, each with ``tables(options)``, the parts of a page in markdown."""
