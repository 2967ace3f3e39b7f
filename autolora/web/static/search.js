// Answers while typing: the results are fetched and replaced, and the URL states what is searched.
import { fetchPart } from "./fetching.js";

const DEBOUNCE_MS = 110;
const form = document.getElementById("search");
const results = document.getElementById("results");
let current = resultsQuery(); // of the results that are shown, or are on their way

/** Return the query of the results that the URL states: all but the adapter in the drawer. */
function resultsQuery() {
  const query = new URLSearchParams(location.search);
  query.delete("adapter");
  return query.toString();
}

/** Return the query of what the form states, without empty fields. */
export function formQuery() {
  const fields = [...new FormData(form)].filter(([, value]) => value !== "");
  return new URLSearchParams(fields);
}

/** Show the results of a query and state it in the URL: a new entry of the history, or instead of the current one. */
export async function showResults(query, { push }) {
  const url = query.size ? `/?${query}` : "/";
  if (push) history.pushState(null, "", url);
  else history.replaceState(null, "", url);
  await fetchResults(query);
}

/** Replace the results by those of a query, which the URL states. */
async function fetchResults(query) {
  current = resultsQuery();
  results.classList.add("waiting");
  const html = await fetchPart("results", `/parts/results?${query}`);
  if (html === null) return;
  results.innerHTML = html;
  results.classList.remove("waiting");
  document.getElementById("announced").textContent = results.firstElementChild.textContent;
  document.title = query.get("q") ? `${query.get("q")} · AutoLoRA` : "AutoLoRA";
}

/** Set the form to a query, such as that of an earlier entry of the history. */
export function fillForm(query) {
  for (const field of form.querySelectorAll("input[name], select[name]")) {
    if (field.type === "hidden") field.remove();
    else if (field.type === "checkbox") field.checked = query.has(field.name);
    else field.value = query.get(field.name) ?? "";
  }
  for (const name of ["use", "like", "file"]) for (const value of query.getAll(name)) addHidden(name, value);
}

/** Add a hidden field to the form. */
export function addHidden(name, value) {
  const field = Object.assign(document.createElement("input"), { type: "hidden", name, value });
  form.append(field);
}

/** Remove hidden fields of the form. */
export function removeHidden(name, value = null) {
  for (const field of form.querySelectorAll(`input[type=hidden][name=${name}]`)) {
    if (value === null || field.value === value) field.remove();
  }
}

export function followSearch() {
  let timer = 0;
  const run = (push) => {
    clearTimeout(timer);
    showResults(formQuery(), { push });
  };
  form.elements.q.addEventListener("input", () => {
    removeHidden("like");
    removeHidden("file");
    clearTimeout(timer);
    timer = setTimeout(() => run(false), DEBOUNCE_MS);
  });
  form.addEventListener("change", (event) => {
    if (event.target.name && event.target.name !== "q") run(true);
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    run(true);
  });
  results.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-more]");
    if (!link) return;
    event.preventDefault();
    showResults(new URL(link.href).searchParams, { push: true });
  });
  addEventListener("popstate", () => {
    if (resultsQuery() === current) return; // only the drawer was opened or closed
    clearTimeout(timer);
    const query = new URLSearchParams(resultsQuery());
    fillForm(query);
    fetchResults(query);
  });
}
