"""One flow per file, one deployment per flow; a flow only chains tasks."""
