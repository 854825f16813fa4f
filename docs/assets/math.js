// Renders the formulas of a page with the local KaTeX; loads nothing on pages without formulas.
"use strict"
{
  const here = document.currentScript.src
  const draw = () => {
    for (const element of document.querySelectorAll(".arithmatex")) {
      const text = element.textContent.trim()
      katex.render(text.slice(2, -2), element, { displayMode: text.startsWith("\\[") })
    }
  }
  document.addEventListener("DOMContentLoaded", () => {
    if (!document.querySelector(".arithmatex")) return
    const style = document.createElement("link")
    style.rel = "stylesheet"
    style.href = new URL("katex/katex.min.css", here)
    const script = document.createElement("script")
    script.src = new URL("katex/katex.min.js", here)
    script.onload = draw
    document.head.append(style, script)
  })
}
