/* Names and roles that the theme and Sphinx leave out, or give in other words than are read: what a triangle in the
   contents opens, the search button, what folds a cell's code, the bibliography; and what scrolls sideways can be reached
   by keyboard. */
"use strict";

function reachable() {
  for (const box of document.querySelectorAll(".pst-scrollable-table-container")) {
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  }
}

window.addEventListener("load", () => {
  for (const summary of document.querySelectorAll(".bd-sidenav summary, .bd-links summary")) {
    const link = summary.closest("li")?.querySelector(":scope > a");
    if (link && !summary.textContent.trim()) summary.setAttribute("aria-label", `pages below ${link.textContent.trim()}`);
  }
  for (const named of document.querySelectorAll(".search-button-field, details.hide > summary")) {
    if (named.textContent.trim()) named.removeAttribute("aria-label");
  }
  for (const list of document.querySelectorAll(".citation-list")) list.removeAttribute("role"); // it holds links as well
  reachable();
  window.addEventListener("resize", reachable);
});
