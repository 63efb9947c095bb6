"""Pictures: which formats are read, decoding whatever lies in a file, colours, what goes with a picture, encoding."""
