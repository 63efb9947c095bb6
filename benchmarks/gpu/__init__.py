"""What has to be proved and measured once on a GPU that is lent for minutes: ``python -m benchmarks.gpu``."""
