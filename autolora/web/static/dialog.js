// The drawer at the side of the page.

export const dialog = document.getElementById("details");
const content = document.getElementById("adapter");

const HEAD = `<div class="head"><h2 tabindex="-1" autofocus>This did not work</h2>
  <form method="dialog"><button class="close" aria-label="Close">×</button></form></div>`;

/** Show HTML from the server in the drawer; a problem has no head, in which the drawer can be closed. */
export function showDialog(html) {
  content.innerHTML = html;
  if (!content.querySelector("form[method=dialog]")) content.insertAdjacentHTML("afterbegin", HEAD);
  dialog.scrollTop = 0;
  dialog.returnValue = ""; // why it was closed before
  if (!dialog.open) dialog.showModal();
}

export function followDialog() {
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });
  if ("open" in dialog.dataset) dialog.showModal();
}
