"""Storage: Redis and files. It imports neither torch nor anything of HTTP."""
