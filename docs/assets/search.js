// Loads the index of the search when the search is used first. The theme asks for it on every page.
"use strict"
{
  const { open, send } = XMLHttpRequest.prototype
  const indices = new WeakSet()
  XMLHttpRequest.prototype.open = function (method, url, ...rest) {
    if (new URL(url, location).pathname.endsWith("/search/search_index.json")) indices.add(this)
    return open.call(this, method, url, ...rest)
  }
  XMLHttpRequest.prototype.send = function (body) {
    const toggle = document.querySelector("#__search")
    if (!indices.has(this) || !toggle || toggle.checked || new URLSearchParams(location.search).has("q")) {
      return send.call(this, body)
    }
    const go = () => {
      toggle.removeEventListener("change", go)
      document.removeEventListener("focusin", started)
      send.call(this, body)
    }
    const started = event => event.target.closest("[data-md-component=search]") && go()
    toggle.addEventListener("change", go)
    document.addEventListener("focusin", started)
  }
}
