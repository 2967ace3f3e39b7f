// The page works without this script; it adds answers while typing, keys, the details' drawer, and dropped files.
import { followSearch } from "./search.js";
import { followDetails } from "./details.js";
import { followKeys } from "./keys.js";
import { followCopies } from "./copy.js";
import { followSelection } from "./selection.js";

followCopies();
if (document.getElementById("search")) {
  followSearch();
  followDetails();
  followSelection();
  followKeys();
}
