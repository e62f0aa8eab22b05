/* Names that the theme leaves out: what a triangle in the contents opens, and what is written on the search button. */
"use strict";

document.addEventListener("DOMContentLoaded", () => {
  for (const summary of document.querySelectorAll(".bd-sidenav summary, .bd-links summary")) {
    const link = summary.closest("li")?.querySelector(":scope > a");
    if (link && !summary.textContent.trim()) summary.setAttribute("aria-label", `pages below ${link.textContent.trim()}`);
  }
  for (const button of document.querySelectorAll(".search-button-field")) button.removeAttribute("aria-label");
});
