// What the theme leaves out for readers who use a keyboard or a screen reader.
"use strict"
{
  const scrolls = ".md-typeset pre > code, .md-typeset__scrollwrap, .md-typeset div.arithmatex"
  const improve = () => {
    document.querySelector("[data-md-component=search]")?.setAttribute("aria-label", "Search")
    for (const buttons of document.querySelectorAll("nav.md-code__nav")) buttons.setAttribute("role", "none")
    // What is wider than its box is scrolled with the arrow keys once it has the focus.
    for (const box of document.querySelectorAll(scrolls)) {
      const isWide = box.scrollWidth > box.clientWidth
      if (isWide) box.setAttribute("tabindex", "0")
      else box.removeAttribute("tabindex")
    }
  }
  addEventListener("load", improve)
  addEventListener("resize", improve)
}
