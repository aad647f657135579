"""Files as people have them: read in blocks, cell by cell as the fields of a spec say, and a spec inferred from them."""
