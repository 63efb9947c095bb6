"""Where photos come from, and the files that tell of them."""
