// A list that grows while a page follows the log keeps its newest rows.
"use strict";
for (const list of document.querySelectorAll("[data-keep]")) {
  new MutationObserver(() => {
    while (list.children.length > Number(list.dataset.keep)) list.lastElementChild.remove();
  }).observe(list, { childList: true });
}
