/* makeElement("button", {type: "button", onclick: f, disabled: true}, "text", child, ...): an element. Attributes that are
   false are left out, those that are true are empty, and those that begin with "on" listen. */
"use strict";

function makeElement(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/* Menus by their names; chosen(name, value) is called when a reader chooses. */
function makeMenus(names, chosen) {
  return Object.fromEntries(names.map((name) => {
    const onchange = (event) => chosen(name, event.target.value);
    return [name, makeElement("select", { "data-choice": name, onchange })];
  }));
}

/* What a menu offers: values, or pairs of a value and its text. */
function fillMenu(menu, options, chosen) {
  menu.replaceChildren(...options.map((option) => {
    const [value, text] = Array.isArray(option) ? option : [option, option];
    return makeElement("option", { value, selected: value === chosen }, text);
  }));
}

/* A label around its control, and what else belongs to it. */
function labelledControl(text, control, ...more) {
  return makeElement("label", {}, makeElement("span", {}, text), control, ...more);
}
