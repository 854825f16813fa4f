"""Headless Chromium for tests and docs/check_site.py, spoken to through the DevTools protocol."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tornado.httpclient import AsyncHTTPClient
from tornado.websocket import WebSocketClientConnection, websocket_connect

NAMES = ("chromium", "chromium-browser", "google-chrome")
PATIENCE = 60.0  # seconds
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


def found() -> str | None:
    """The path of an installed Chromium."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Page:
    """One tab. `wrong` collects messages on the console, exceptions, and requests that leave.

    Each of `listeners` is called with each event and what is known of it.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, line: WebSocketClientConnection) -> None:
        self.loop, self.line, self.numbers = loop, line, itertools.count(1)
        self.wrong: list[str] = []
        self.listeners: list[Callable[[str, dict[str, Any]], None]] = []
        self.allowed = ("file:", "data:", "blob:", "about:")
        self.downloads = Path()

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command and give its result."""
        number = next(self.numbers)

        async def asked() -> dict[str, Any]:
            message = {"id": number, "method": method, "params": parameters}
            await self.line.write_message(json.dumps(message))
            return await self._until(lambda answer: answer.get("id") == number)

        answer = self.loop.run_until_complete(asyncio.wait_for(asked(), PATIENCE))
        assert "error" not in answer, (method, answer["error"])
        return answer["result"]

    def open(self, place: Path | str, *, width: int = 1280, dark: bool = False) -> None:
        """Open a file from the file system, or an address, at a width, in a mode."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=900, deviceScaleFactor=1, mobile=width < 600,
        )  # fmt: skip
        self.call("Emulation.setTouchEmulationEnabled", enabled=width < 600)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url=place.as_uri() if isinstance(place, Path) else place)
        self.run(
            "new Promise(done => document.readyState === 'complete' ? done() : "
            "addEventListener('load', () => done()))"
        )
        self.settle()

    def settle(self) -> None:
        """Wait until what was asked for is painted."""
        self.run("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def run(self, expression: str) -> Any:
        """The value of an expression in the page, awaited."""
        answer = self.call(
            "Runtime.evaluate",
            expression=expression,
            awaitPromise=True,
            returnByValue=True,
            userGesture=True,
        )
        details = answer.get("exceptionDetails")
        assert details is None, details
        return answer["result"].get("value")

    def press(self, key: str) -> None:
        """Press a key and let it go."""
        code = {" ": ("Space", 32), "Tab": ("Tab", 9), "Enter": ("Enter", 13)}.get(key, (key, 0))
        about = {"key": key, "code": code[0], "windowsVirtualKeyCode": code[1]}
        text = {" ": " ", "Enter": "\r"}.get(key, "")
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **about)
        self.call("Input.dispatchKeyEvent", type="keyUp", **about)
        self.settle()

    def click(self, element: str) -> None:
        """Click with the mouse on the middle of an element, given as an expression."""
        x, y = self.run(
            f"(() => {{ const e = {element}; e.scrollIntoView({{block: 'center'}}); "
            "const r = e.getBoundingClientRect(); "
            "return [r.x + r.width / 2, r.y + r.height / 2] })()"
        )
        self.point("mousePressed", x, y)
        self.point("mouseReleased", x, y)
        self.settle()

    def point(self, what: str, x: float, y: float) -> None:
        """Move, press or release the mouse."""
        about = {"x": x, "y": y} | ({} if what == "mouseMoved" else {"button": "left"})
        self.call("Input.dispatchMouseEvent", type=what, clickCount=1, **about)

    def touch(self, x: float, y: float) -> None:
        """Touch a place and let go."""
        self.call("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": x, "y": y}])
        self.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
        self.settle()

    def picture(self, path: Path) -> None:
        """Take a picture of the whole page, or of its upper part if it is longer than allowed."""
        width, height = self.run(
            "[innerWidth, Math.min(document.documentElement.scrollHeight, 16_000)]"
        )
        clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
        answer = self.call("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        path.write_bytes(base64.b64decode(answer["data"]))

    async def _until(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        while True:
            text = await self.line.read_message()
            assert text is not None, "Chromium closed the connection"
            message = json.loads(text)
            self._judge(message.get("method"), message.get("params", {}))
            if wanted(message):
                return message

    def _judge(self, event: str | None, about: dict[str, Any]) -> None:
        for listener in self.listeners if event else []:
            listener(event, about)
        if event == "Runtime.exceptionThrown":
            details = about["exceptionDetails"]
            self.wrong.append(f"exception: {details.get('exception', details)}")
        elif event == "Runtime.consoleAPICalled":
            self.wrong.append(f"console.{about['type']}: {[a.get('value') for a in about['args']]}")
        elif event == "Log.entryAdded":
            self.wrong.append(f"console: {about['entry']['text']}")
        elif event == "Page.javascriptDialogOpening":
            self.wrong.append(f"a dialog: {about['message']}")
        elif event == "Network.requestWillBeSent":
            url = about["request"]["url"]
            if not url.startswith(self.allowed):
                self.wrong.append(f"request: {url}")


@contextlib.contextmanager
def page(browser: str | None = None) -> Iterator[Page]:
    """Start Chromium with an empty profile and one tab; it ends with the block."""
    browser = browser or found()
    assert browser is not None
    loop = asyncio.new_event_loop()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [browser, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, encoding="utf-8")
        try:
            assert process.stderr is not None
            line = next(line for line in process.stderr if "DevTools listening on" in line)
            port = re.search(r":(\d+)/", line)
            assert port is not None
            made = loop.run_until_complete(_connected(loop, port[1]))
            made.downloads = Path(profile) / "downloads"
            for domain in ("Page", "Runtime", "Network", "Log"):
                made.call(f"{domain}.enable")
            made.call(
                "Browser.setDownloadBehavior", behavior="allow", downloadPath=str(made.downloads)
            )
            yield made
            loop.run_until_complete(_disconnected(made))
        finally:
            process.terminate()
            process.wait()
            assert process.stderr is not None
            process.stderr.close()
            loop.close()


async def _connected(loop: asyncio.AbstractEventLoop, port: str) -> Page:
    answer = await AsyncHTTPClient().fetch(f"http://127.0.0.1:{port}/json/list")
    tab = next(tab for tab in json.loads(answer.body) if tab["type"] == "page")
    line = await websocket_connect(tab["webSocketDebuggerUrl"], max_message_size=1 << 28)
    return Page(loop, line)


async def _disconnected(page: Page) -> None:
    page.line.close()  # takes the running loop; without one, it would make its own
    await asyncio.sleep(0.05)
