"""Check every page of the built site in Chromium: light and wide, dark and narrow.

    python docs/check_site.py [--site FOLDER] [--browser PATH] [PAGE ...]

One page of each kind is also checked dark and wide, and light and narrow. The site is served below
a sub-path. Errors are messages on the console, exceptions, requests to
other hosts or to missing files, dead links, pages wider than the window, what axe-core finds, pages
that are too large or occupy the browser for too long, controls that the Tab key does not reach or
whose focus is not visible, and searches that do not find their page. The viewer's own page, live
pages with a loaded model, and a report of `seqlearn compare` are checked too. Screenshots are in
`.cache/screenshots/`.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

from fetch_axe import axe
from other_pages import write_other_pages
from site_pages import dead_links, pages, prefix_of, served

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

import chromium  # noqa: E402  (of the tests)

PICTURES = ROOT / ".cache" / "screenshots"
VIEWS = ((1280, "light"), (390, "dark"))
OTHER_VIEWS = ((1280, "dark"), (390, "light"))
"""Of one page of each kind."""
LIMITS = {"index.html": 1_000_000}
LIMIT = 2_000_000
"""Bytes that a page may transfer, without compression; the home page and all others."""
SECONDS = 2.0
"""Seconds for which a page may occupy the browser's main thread until it is loaded and drawn."""
KINDS = (
    "index.html",
    "tutorials/attention/index.html",
    "data/index.html",
    "reference/models/index.html",
    "reference/names/models.LSTM/index.html",
)
"""Pages of the theme, one of each kind: all their controls are visited with the Tab key.

Pages without the theme's header, such as the viewer's own, are all visited."""
SEARCHES = {
    "colab": "tutorials_index/",
    "onnx": "deployment/",
    "export": "deployment/",
    "fine-tune": "fine-tuning/",
    "resume": "interruption/",
    "multi gpu": "many_gpus/",
    "wandb": "callbacks/",
    "teacher forcing": "glossary/",
    "KV cache": "glossary/",
    "beam search": "decoding/",
    "out of memory": "troubleshooting/",
}
"""What a reader searches for, and the page that must be among the first results."""
FIRST_RESULTS = 5
SEARCH = """(async words => {
    const field = document.querySelector("[data-md-component=search-query]")
    const results = () => [...document.querySelectorAll(".md-search-result__item")]
    const until = async isTrue => {
        for (let i = 0; i < 1000 && !isTrue(); i++) await new Promise(r => setTimeout(r, 50))
    }
    if (!document.querySelector("#__search").checked) document.querySelector("#__search").click()
    const type = text => {
        field.focus(); field.value = text
        field.dispatchEvent(new KeyboardEvent("keyup", {bubbles: true}))
    }
    type(""); await until(() => !results().length)
    type(words); await until(() => results().length)
    return results().map(item => [item.querySelector("a").href,
        [...item.querySelectorAll("a")].every(a => a.querySelector(".md-search-result__terms"))])
})(WORDS)"""
"""The results of a search: their addresses, and whether each section lacks a word."""
AXE = """axe.run(document, {iframes: false, resultTypes: ["violations"]}).then(found =>
    found.violations.flatMap(({id, help, nodes}) => nodes.slice(0, 3).map(node =>
        `${id} (${help}), ${nodes.length} times: ${node.target.flat().join(" ")}: ` +
        [...node.any, ...node.all, ...node.none].map(({message}) => message).join("; "))))"""
CONTROLS = """
    globalThis.controls = (root = document) => [...root.querySelectorAll("*")].flatMap(e => [
        ...e.matches("a[href], button, select, input, summary, [tabindex='0']") && !e.disabled
            && !e.hidden && (e.type !== "radio" || e.checked)  // arrow keys reach the others
            && e.tabIndex >= 0 && e.checkVisibility({visibilityProperty: true}) ? [e] : [],
        ...e.shadowRoot ? controls(e.shadowRoot) : []])
    globalThis.nameOf = e =>
        `${e.localName} ${e.getAttribute("aria-label") ?? e.textContent.trim()}`
    globalThis.focused = () => {
        let e = document.activeElement
        while (e.shadowRoot?.activeElement) e = e.shadowRoot.activeElement
        const isSeen = ({outlineStyle, outlineWidth}) =>
            outlineStyle !== "none" && parseFloat(outlineWidth) > 0
        const labels = e.type === "radio" ? [...e.labels, e.nextElementSibling] : []
        return [nameOf(e), [e, ...labels].some(each => each && isSeen(getComputedStyle(each)))]
    }"""
LOAD = """(async () => {
    document.querySelector("#load").click()
    for (let i = 0; i < 1200 && !document.querySelector("#viewer .seqlearn-viewer"); i++)
        await new Promise(r => setTimeout(r, 50))
    document.querySelector("#heads").open = true
    return !!document.querySelector("#viewer .seqlearn-viewer")
})()"""
"""Load the model of a live page, and open the list of its heads."""


class Checked(dict[str, list[str]]):
    """The errors of each page, found in one tab."""

    def __init__(self, page: chromium.Page) -> None:
        super().__init__()
        self.page, self.received = page, 0
        page.listeners.append(self.hear)
        page.call("Network.setCacheDisabled", cacheDisabled=True)
        page.call("Performance.enable", timeDomain="threadTicks")

    def hear(self, event: str, about: dict[str, Any]) -> None:
        """Count the received bytes, and note what could not be loaded."""
        if event == "Network.loadingFinished":
            self.received += round(about["encodedDataLength"])
        elif event == "Network.loadingFailed" and not about.get("canceled"):
            self.page.wrong.append(f"failed request: {about['errorText']}")

    def visit(self, name: str, address: str, view: tuple[int, str]) -> None:
        """Load a page at a width in a mode, check it, and take a screenshot."""
        page, (width, mode) = self.page, view
        page.wrong, self.received = [], 0
        page.open(address, width=width, dark=mode == "dark")
        page.run("new Promise(done => setTimeout(done, 300))")
        seconds, size, limit = self.busy(), self.received, LIMITS.get(name, LIMIT)
        if size > limit:
            page.wrong.append(f"transfers {size / 1e6:.2f} MB, more than {limit / 1e6:.2f} MB")
        if seconds > SECONDS:
            page.wrong.append(f"occupies the browser for {seconds:.1f} seconds")
        print(f"{name} at {width}, {mode}: {size / 1e6:.2f} MB, {seconds:.2f} s", flush=True)
        if page.run("!!document.querySelector('#load')") and not page.run(LOAD):
            page.wrong.append("the model of the live page does not run")
        if (wide := page.run("document.documentElement.scrollWidth")) > width:
            page.wrong.append(f"{wide} pixels wide in a window of {width}")
        page.run(f"{axe()}; 0")
        page.wrong += [f"axe: {line}" for line in page.run(AXE)]
        if name in KINDS or page.run("!document.querySelector('.md-header')"):
            page.wrong += self.unreached()
        stem = name.strip("/").removesuffix("index.html").rstrip("/").replace("/", "-")
        page.picture(PICTURES / f"{stem.removesuffix('.html') or 'index'}-{width}-{mode}.png")
        self[f"{name} at {width}, {mode}"] = page.wrong
        for error in sorted(set(page.wrong)):
            print(f"    {error}", flush=True)

    def busy(self) -> float:
        """Seconds for which the main thread of the page worked, without waiting for a core."""
        metrics = self.page.call("Performance.getMetrics")["metrics"]
        return next(each["value"] for each in metrics if each["name"] == "TaskDuration")

    def unreached(self) -> list[str]:
        """The controls that the Tab key does not reach, or whose focus is not visible."""
        self.page.run(f"{CONTROLS}; document.activeElement.blur()")
        names = self.page.run("controls().map(nameOf)")
        reached: dict[str, bool] = {}
        for _ in range(len(names) + 2):
            self.page.press("Tab")
            name, is_seen = self.page.run("focused()")
            reached[name] = is_seen
        return [
            f"{name!r} {'has no visible focus' if name in reached else 'is not reached by Tab'}"
            for name in names
            if not reached.get(name, False)
        ]

    def search(self, address: str) -> None:
        """Search for what is in `SEARCHES`, with all of its words in one section of the page."""
        self.page.wrong = self["search"] = []
        self.page.open(address)
        for words, wanted in SEARCHES.items():
            found = self.page.run(SEARCH.replace("WORDS", json.dumps(words)))
            links = [link.removeprefix(address) for link, is_partial in found if not is_partial]
            if not any(link.startswith(wanted) for link in links[:FIRST_RESULTS]):
                self.page.wrong.append(f"{words!r} finds {links[:FIRST_RESULTS]}, not {wanted}")
                print(f"    search: {self.page.wrong[-1]}", flush=True)


def check(site: Path, only: list[str], browser: str | None) -> dict[str, list[str]]:
    """The errors of each page."""
    found: dict[str, list[str]] = defaultdict(list)
    for name, links in dead_links(site).items():
        found[name] = [f"dead link: {link}" for link in links]
        print(name, *found[name], sep="\n    ", flush=True)
    with tempfile.TemporaryDirectory() as folder, chromium.page(browser) as page:
        checked = Checked(page)
        allowed = page.allowed
        others = {path.name: path.as_uri() for path in write_other_pages(Path(folder))}
        for name in only or [*pages(site), *others]:
            with served(site, prefix_of(site, name)) as address:
                page.allowed = (*allowed, address)
                place = others.get(name, address + name.removesuffix("index.html"))
                of_kind = name in KINDS or name in others or name.startswith("live/")
                for view in VIEWS + OTHER_VIEWS * of_kind:
                    checked.visit(name, place, view)
                if name == "index.html":
                    checked.search(address)
        return found | checked


def main() -> None:
    """Check the site and print all errors."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("only", nargs="*", metavar="PAGE", help="such as index.html")
    parser.add_argument("--site", type=Path, default=ROOT / "site")
    parser.add_argument("--browser", help="path of Chromium")
    options = parser.parse_args()
    if (options.browser or chromium.found()) is None or not options.site.is_dir():
        raise SystemExit("docs: expected Chromium, and the site that `make docs` builds")
    PICTURES.mkdir(parents=True, exist_ok=True)
    found = check(options.site, options.only, options.browser)
    bad = sum(bool(errors) for errors in found.values())
    print(f"{len(found)} checks, {bad} with errors; screenshots in {PICTURES}")
    raise SystemExit(bool(bad))


if __name__ == "__main__":
    main()
