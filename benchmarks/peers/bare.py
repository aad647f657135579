"""Bare uvicorn reads the body and answers a constant of the usual size: the most that one such process can do."""

from __future__ import annotations

import sys

import uvicorn

ANSWER = b"x" * 400
HEADERS = [(b"content-type", b"application/json"), (b"content-length", str(len(ANSWER)).encode())]


async def answer(scope: dict, receive, send) -> None:  # type: ignore[no-untyped-def,type-arg]
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": ANSWER})


if __name__ == "__main__":
    uvicorn.run(answer, port=int(sys.argv[1]), log_level="error", access_log=False, lifespan="off")
