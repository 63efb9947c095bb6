"""A run over folders, files, globs and tables."""
