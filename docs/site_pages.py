"""What the checks of the site read without a browser: its pages, their links, and its server."""

from __future__ import annotations

import contextlib
import functools
import http.server
import re
import threading
from collections import defaultdict
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

SUB_PATH = "/some/sub/path/"
"""Where a site without an address is served. On GitHub Pages it is `/REPOSITORY/VERSION/`."""


class _Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder below a prefix, and nothing else."""

    def __init__(self, *args: Any, prefix: str, **kwargs: Any) -> None:
        self.prefix = prefix
        super().__init__(*args, **kwargs)

    def translate_path(self, path: str) -> str:
        """The file of an address; the name of none for an address above the prefix."""
        if not path.startswith(self.prefix):
            return str(Path(self.directory) / "there-is-no-such-file")
        return super().translate_path("/" + path.removeprefix(self.prefix))

    def log_message(self, *args: Any) -> None:
        """Do not log."""


@contextlib.contextmanager
def served(site: Path, prefix: str) -> Iterator[str]:
    """Serve a folder from this machine, below a prefix; the address ends with a slash."""
    handler = functools.partial(_Handler, directory=str(site), prefix=prefix)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}{prefix}"
        finally:
            server.shutdown()
            thread.join()


class _Reader(HTMLParser):
    """The links of a page, and the places in it to which a link can lead."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.places: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep what a tag refers to."""
        for name, value in attrs:
            if name in {"id", "name"} and value:
                self.places.add(value)
            elif value and (name == "src" or (name == "href" and tag != "base")):
                self.links.append(value)


def pages(site: Path) -> list[str]:
    """The pages of the site, as paths in it."""
    return sorted(path.relative_to(site).as_posix() for path in site.rglob("*.html"))


def prefix_of(site: Path, page: str) -> str:
    """The path below which a page is served: that of the site's address, or any.

    The page of a missing address (404.html) is served at any depth. Its links start at the root, so
    it works in one place only.
    """
    addresses = re.findall(r"<loc>(.*?)</loc>", (site / "sitemap.xml").read_text(encoding="utf-8"))
    if addresses:
        return urlsplit(min(addresses, key=len)).path
    return "/" if page == "404.html" else SUB_PATH


def dead_links(site: Path) -> dict[str, list[str]]:
    """The links of each page that lead to no file of the site, or to no place of a page."""
    root = prefix_of(site, "404.html")
    read: dict[Path, _Reader] = {}

    def reader(path: Path) -> _Reader:
        if path not in read:
            read[path] = _Reader()
            read[path].feed(path.read_text(encoding="utf-8"))
        return read[path]

    found: dict[str, list[str]] = defaultdict(list)
    for page in pages(site):
        here = site / page
        for link in reader(here).links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            path, is_absolute = unquote(parts.path), parts.path.startswith("/")
            target = site / path.removeprefix(root) if is_absolute else here.parent / path
            target = target.resolve() if path else here
            if target.is_dir():
                target /= "index.html"
            place = unquote(parts.fragment)
            is_dead = not target.is_file() or (is_absolute and page != "404.html")
            if not is_dead and place and target.suffix == ".html":
                is_dead = place not in reader(target).places
            if is_dead:
                found[page].append(link)
    return dict(found)
