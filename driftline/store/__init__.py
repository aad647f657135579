"""Where it is kept: Redis and files; nothing of torch or HTTP."""
