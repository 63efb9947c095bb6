"""One flow a file, one deployment a flow; a flow only chains tasks."""
