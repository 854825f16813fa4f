"""Load every page of the built site in Chromium, wide and narrow, and report errors.

Errors are console messages, exceptions, requests to other hosts, failed requests, pages wider than
the window, and a search without results. Screenshots are written to `.cache/screenshots/`.

    python docs/check_site.py [PATH TO CHROMIUM]
"""

from __future__ import annotations

import asyncio
import base64
import functools
import http.server
import itertools
import json
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tornado.httpclient import AsyncHTTPClient
from tornado.websocket import WebSocketClientConnection, websocket_connect

ROOT = Path(__file__).resolve().parent.parent
SITE, PICTURES = ROOT / "site", ROOT / ".cache" / "screenshots"
WIDTHS = (1280, 390)
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
    "--remote-debugging-port=0",
]
SEARCH = """new Promise(done => {
    const field = document.querySelector("[data-md-component=search-query]")
    document.querySelector("#__search").click()
    field.focus(); field.value = "attention"
    field.dispatchEvent(new Event("input", {bubbles: true}))
    field.dispatchEvent(new KeyboardEvent("keyup", {bubbles: true}))
    setTimeout(() => done(document.querySelectorAll(".md-search-result__item").length), 3000)
})"""


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves the site without logging requests."""

    def log_message(self, *args: Any) -> None:
        """Do not log."""


class Page:
    """One tab, controlled through the DevTools protocol."""

    def __init__(self, connection: WebSocketClientConnection, host: str) -> None:
        self.connection, self.host = connection, host
        self.numbers = itertools.count(1)
        self.wrong: set[str] = set()

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command and return its result; check all events until then."""
        number = next(self.numbers)
        message = {"id": number, "method": method, "params": parameters}
        await self.connection.write_message(json.dumps(message))
        return await self.until(lambda message: message.get("id") == number)

    async def until(self, wanted: Any) -> dict[str, Any]:
        """Read messages until one satisfies `wanted`; return its result."""
        while True:
            text = await self.connection.read_message()
            if text is None:
                raise SystemExit("docs: Chromium closed the connection")
            message = json.loads(text)
            self.check_event(message.get("method"), message.get("params", {}))
            if wanted(message):
                return message.get("result", {})

    def check_event(self, event: str | None, about: dict[str, Any]) -> None:
        """Record an event that is an error."""
        if event == "Runtime.exceptionThrown":
            details = about["exceptionDetails"]
            self.wrong.add(f"exception: {details.get('exception', {}).get('description', details)}")
        elif event == "Runtime.consoleAPICalled":
            self.wrong.add(f"console.{about['type']}: {[a.get('value') for a in about['args']]}")
        elif event == "Log.entryAdded":
            self.wrong.add(f"console: {about['entry']['text']} {about['entry'].get('url', '')}")
        elif event == "Network.requestWillBeSent":
            url = urlsplit(about["request"]["url"])
            if url.scheme not in {"data", "blob"} and url.netloc != self.host:
                self.wrong.add(f"request to another host: {url.geturl()}")
        elif event == "Network.loadingFailed" and not about.get("canceled"):
            self.wrong.add(f"failed request: {about['errorText']}")

    async def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page."""
        reply = await self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        return reply["result"].get("value")

    async def visit(self, path: str, width: int) -> None:
        """Load a page at a width, measure it and take a screenshot."""
        await self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=900, deviceScaleFactor=1, mobile=width < 600,
        )  # fmt: skip
        await self.call("Page.navigate", url=f"http://{self.host}/{path}")
        await self.until(lambda message: message.get("method") == "Page.loadEventFired")
        await asyncio.sleep(0.3)
        if (wide := await self.evaluate("document.documentElement.scrollWidth")) > width:
            self.wrong.add(f"{wide} pixels wide in a window of {width}")
        reply = await self.call("Page.captureScreenshot", captureBeyondViewport=True)
        name = (path.strip("/") or "index").replace("/", "-").removesuffix(".html")
        (PICTURES / f"{name}-{width}.png").write_bytes(base64.b64decode(reply["data"]))


async def check(address: str, host: str) -> int:
    """Load all pages, print all errors, and return the number of pages with errors."""
    connection = await websocket_connect(address, max_message_size=1 << 28)
    page, bad = Page(connection, host), 0
    for domain in ("Page", "Runtime", "Network", "Log"):
        await page.call(f"{domain}.enable")
    paths = sorted(p.relative_to(SITE).as_posix() for p in SITE.rglob("*.html"))
    for path, width in itertools.product(paths, WIDTHS):
        page.wrong.clear()
        await page.visit(path.removesuffix("index.html"), width)
        if path == "index.html" and width == max(WIDTHS) and not await page.evaluate(SEARCH):
            page.wrong.add("the search for 'attention' has no results")
        bad += bool(page.wrong)
        for wrong in sorted(page.wrong):
            print(f"{path} at {width}: {wrong}")
    print(f"{len(paths)} pages at {WIDTHS} pixels: {bad} with errors; screenshots in {PICTURES}")
    return bad


def main() -> None:
    """Serve the site, start Chromium, check all pages."""
    names = [*sys.argv[1:], "chromium", "chromium-browser", "google-chrome"]
    browser = next((found for name in names if (found := shutil.which(name))), None)
    if browser is None or not SITE.is_dir():
        raise SystemExit("docs: expected Chromium, and the site that `make docs` builds")
    PICTURES.mkdir(parents=True, exist_ok=True)
    handler = functools.partial(Quiet, directory=SITE)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [browser, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, encoding="utf-8")  # noqa: S603
        try:
            assert process.stderr is not None
            line = next(line for line in process.stderr if "DevTools listening on" in line)
            port = re.search(r":(\d+)/", line)
            assert port is not None
            bad = asyncio.run(_checked(port[1], f"127.0.0.1:{server.server_port}"))
        finally:
            process.terminate()
            process.wait()
    raise SystemExit(bool(bad))


async def _checked(port: str, host: str) -> int:
    reply = await AsyncHTTPClient().fetch(f"http://127.0.0.1:{port}/json/list")
    tab = next(tab for tab in json.loads(reply.body) if tab["type"] == "page")
    return await check(tab["webSocketDebuggerUrl"], host)


if __name__ == "__main__":
    main()
