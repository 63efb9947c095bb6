"""The local web page of ``ufvnet serve``."""
