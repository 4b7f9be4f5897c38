// What both pages share: report_page.html and serve.html.
function byId(id) {
  return document.getElementById(id);
}

/** Append a new element with a class and a text to a parent. */
function add(parent, tag, className = "", text = "") {
  const child = document.createElement(tag);
  child.className = className;
  child.textContent = text;
  parent.append(child);
  return child;
}
