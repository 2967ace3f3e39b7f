// The page works without this script; it adds answers while typing, keys, the drawer, dropped files and images.
import { followDetails } from "./details.js";
import { followDialog } from "./dialog.js";
import { followDrops } from "./drop.js";
import { say } from "./fetching.js";

followDialog();
followDrops();
globalThis.followCopies((message, isBad) => say(message, { isBad }));
if (document.getElementById("search")) {
  const [search, selection, keys] = await Promise.all([
    import("./search.js"), import("./selection.js"), import("./keys.js"),
  ]);
  followDetails();
  search.followSearch();
  selection.followSelection();
  keys.followKeys();
}
if (document.getElementById("generate")) {
  (await import("./generate.js")).followGeneration();
}
