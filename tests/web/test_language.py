"""The page of an index with a language: what of the prompt is answered, and what is not."""

import re
from html import unescape

import httpx2


def outline(page: str) -> list[str]:
    """Return the headings, the lines of the survey, and the adapters of a page of results, in order."""
    found = re.findall(
        r'<h2[^>]*>(.*?)</h2>|<p class="survey">(.*?)</p>|<span class="name">(.*?)</span>', page
    )
    return [unescape("".join(groups)) for groups in found]


def test_results_stand_below_the_part_that_they_answer(spoken: httpx2.Client) -> None:
    query: dict[str, str | int] = {"q": "a NEON cat, two tents", "k": 8, "since": "2026-01-01"}
    survey, *cards = outline(spoken.get("/parts/results", params=query).text)
    assert re.fullmatch(
        r"Nothing clearly fits: two tents \(nearest: huggingface:author\d/\w+, 0\.\d\d\)\.", survey
    )
    groups = {"": list[str]()}
    for card in cards:
        if card.startswith(("For: ", "Less")):
            groups[card] = []
        else:
            groups[[*groups][-1]].append(card.lower())
    assert groups.pop("") == [] and [*groups][-1] == "Less likely" and len(groups.pop("Less likely")) >= 2
    assert {heading: set(names) for heading, names in groups.items()} == {
        "For: NEON": {"neon"},
        "For: cat": {"cat"},
    }


def test_a_prompt_that_only_excludes_shows_no_adapter(spoken: httpx2.Client) -> None:
    page = spoken.get("/parts/results", params={"q": "no cats, tents or neon"}).text
    assert outline(page) == [
        "Left out, as negated: cats, tents, neon.",
        "The prompt only excludes: write what an adapter should do.",
    ]
    assert "The nearest" not in page and "passes these filters" not in page


def test_adapters_that_filters_hide_are_counted(spoken: httpx2.Client) -> None:
    fitting = set[str]()
    for since in ("2026-01-01", "2026-01-02"):
        query: dict[str, str | int] = {"q": "a cat, two tents", "k": 12, "nsfw": 1, "since": since}
        found = spoken.get("/api/search", params=query).raise_for_status().json()
        fitting = fitting or {hit["sha256"] for hit in found["adapters"] if hit["relevance"] >= 0.6}
        hidden = fitting - {hit["sha256"] for hit in found["adapters"]}
        assert found["num_hidden"] == len(hidden)
    line = f"Hidden by the filters: {len(hidden)} adapters that would fit."
    assert len(hidden) > 1 and line in outline(spoken.get("/parts/results", params=query).text)


def test_what_a_visitor_has_typed_is_escaped(spoken: httpx2.Client) -> None:
    page = spoken.get("/", params={"q": "<i>Ox</i>, Cat&", "k": 6}).text
    assert "Nothing clearly fits: &lt;i&gt;Ox&lt;/i&gt; (nearest" in page and "<i>Ox" not in page
    assert "For: Cat&amp;</h2>" in page


def test_the_api_states_parts_and_what_is_unanswered(spoken: httpx2.Client) -> None:
    found = spoken.get("/api/search", params={"q": "a cat, two tents", "k": 4}).raise_for_status().json()
    (row,) = found["unanswered"]
    assert (
        row["part"] == "two tents"
        and row["nearest"].startswith("huggingface:")
        and 0 <= row["relevance"] < 0.3
    )
    best = found["adapters"][0]
    assert (best["part"], best["id"].partition("/")[2], best["relevance"] >= 0.6) == ("cat", "cat", True)
    (named,) = spoken.get("/api/search", params={"q": best["id"], "k": 1}).json()["adapters"]
    assert (named["id"], named["part"], named["relevance"]) == (best["id"], None, None)
    for query in ({}, {"like": best["sha256"]}):
        plain = spoken.get("/api/search", params=query).json()
        assert (plain["unanswered"], plain["num_hidden"]) == ([], 0)


def test_without_a_language_there_is_no_survey(client: httpx2.Client) -> None:
    page = client.get("/parts/results", params={"q": "a neon cat"}).text
    assert 'class="survey"' not in page and "For: " not in page
    found = client.get("/api/search", params={"q": "two tents", "k": 1}).json()
    assert (found["unanswered"], found["num_hidden"], found["adapters"][0]["part"]) == ([], 0, None)
