"""Photos to a dataset: resolved, scanned, planned as shards, written, assembled; and verified."""
