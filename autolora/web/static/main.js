// The page works without this script; it adds answers while typing, keys, the drawer, dropped files and images.
import { followCopies } from "./copy.js";
import { followDetails } from "./details.js";
import { followDialog } from "./dialog.js";
import { followDrops } from "./drop.js";
import { say } from "./fetching.js";
import { followGeneration } from "./generate.js";
import { followKeys } from "./keys.js";
import { followSearch } from "./search.js";
import { followSelection } from "./selection.js";

followDialog();
followDrops();
followCopies((message, isBad) => say(message, { isBad }));
if (document.getElementById("search")) {
  followDetails();
  followSearch();
  followSelection();
  followKeys();
}
if (document.getElementById("generate")) followGeneration();
