"""Files and a server: history that is imported, rows that are answered, labels that are handed in."""
