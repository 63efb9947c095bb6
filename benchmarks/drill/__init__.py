"""The operations drill: server, scheduler and workers on hosts of their own, and what can go wrong with them."""
