// The drawer at the side of the page.

export const dialog = document.getElementById("details");
const content = document.getElementById("adapter");

/** Show HTML from the server in the drawer. */
export function showDialog(html) {
  content.innerHTML = html;
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
