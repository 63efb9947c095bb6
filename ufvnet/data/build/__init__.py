"""Photos to a dataset: scan, shards, rows."""
