"""``/`` and ``/page/…``: the page for whoever operates the models, made of files of this package.

The files stand under a path that holds a digest of them all, so that a browser keeps them for good, and takes all of them
anew when one has changed. ``/`` names that path, and is asked for again each time.
"""

from __future__ import annotations

import gzip
import hashlib
import posixpath
import re
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

FOLDER = Path(__file__).resolve().parents[1] / "page"
KINDS = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}
INDEX, MAIN = "index.html", "main.js"
IMPORT = re.compile(r'^(?:import|export)\b[^;"`=()]*?"(\.[^"]+)"', re.MULTILINE)
"""What a script imports before it runs; what it loads later is no such line."""
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "content-security-policy": POLICY,
    "cross-origin-opener-policy": "same-origin",
    "vary": "accept-encoding",
}
FOR_GOOD = "public, max-age=31536000, immutable"
ASK_AGAIN = "no-cache"


class PageFile(NamedTuple):
    """A file as it is sent: its content type, its bytes, these compressed, and what tells it from another."""

    kind: str
    body: bytes
    compressed: bytes
    tag: str

    @classmethod
    def of(cls, name: str, body: bytes) -> PageFile:
        kind = KINDS[PurePosixPath(name).suffix]
        return cls(kind, body, gzip.compress(body, 9, mtime=0), f'W/"{hashlib.sha256(body).hexdigest()[:20]}"')


class Page:
    """The files of a folder, read when they are first asked for."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self.folder = folder

    @cached_property
    def files(self) -> dict[str, PageFile]:
        """Every file by its path within the folder, but for the index."""
        paths = sorted(path for path in self.folder.rglob("*") if path.suffix in KINDS)
        names = {path.relative_to(self.folder).as_posix(): path for path in paths}
        return {name: PageFile.of(name, path.read_bytes()) for name, path in names.items() if name != INDEX}

    @cached_property
    def digest(self) -> str:
        """What tells these files from those of another release."""
        whole = hashlib.sha256()
        for name, file in self.files.items():
            whole.update(f"{name} {file.tag}\n".encode())
        return whole.hexdigest()[:16]

    @cached_property
    def index(self) -> PageFile:
        """The page itself, which names its files; the scripts that it begins with all at once, so that none waits for the one
        that imports it.
        """
        scripts = self.imported_by(MAIN)
        ahead = "\n    ".join(f'<link rel="modulepreload" href="page/{self.digest}/{name}" />' for name in scripts)
        text = (self.folder / INDEX).read_text("utf-8")
        whole = text.replace("<!-- scripts -->", ahead).replace("page/files/", f"page/{self.digest}/")
        return PageFile.of(INDEX, whole.encode())

    def imported_by(self, script: str) -> list[str]:
        """A script, and those without which it does not run."""
        found, left = dict[str, None](), [script]
        while left:
            name = left.pop()
            if name not in found and name in self.files:
                found[name] = None
                imports = IMPORT.findall(self.files[name].body.decode())
                left += [posixpath.normpath(posixpath.join(posixpath.dirname(name), other)) for other in imports]
        return sorted(found)

    def routes(self) -> list[Route]:
        return [Route("/", self.show), Route("/page/{digest}/{name:path}", self.show_file)]

    async def show(self, request: Request) -> Response:
        return _answer(request, self.index, ASK_AGAIN)

    async def show_file(self, request: Request) -> Response:
        """One of the files. Under the digest of another release, whose page may still be open, it is not kept."""
        name, digest = request.path_params["name"], request.path_params["digest"]
        if name not in self.files:
            raise HTTPException(404)
        return _answer(request, self.files[name], FOR_GOOD if digest == self.digest else ASK_AGAIN)


def _answer(request: Request, file: PageFile, keeping: str) -> Response:
    headers = {**HEADERS, "cache-control": keeping, "etag": file.tag}
    if file.tag in [tag.strip() for tag in request.headers.get("if-none-match", "").split(",")]:
        return Response(status_code=304, headers=headers)
    accepted = [kind.partition(";")[0].strip() for kind in request.headers.get("accept-encoding", "").split(",")]
    if "gzip" in accepted:
        return Response(file.compressed, headers={**headers, "content-encoding": "gzip"}, media_type=file.kind)
    return Response(file.body, headers=headers, media_type=file.kind)
