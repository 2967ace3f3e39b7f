"""The parts of a prompt, each of which may ask for something: clauses, runs of words between stop words, their ends.

People write requests, scenes and quality tags around what they want. The vector of a whole prompt mixes all of it; the
best part of a prompt fits an adapter as well as if nothing else had been written. Known tags of quality are no parts.
"""

import re
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from autolora.storage.arrays import Float64Array

MAX_WORDS = 8
"""of a clause; a longer one is cut into windows of so many words"""
STEP = 4
"""words from the beginning of a window to that of the next"""
EDGES = (1, 2)
"""words at both ends of a run that are parts too: `neon` and `cat` of `a neon cat`, and what stands before or behind
decorations that nothing separates from it"""
SHORT_RUN = 3
"""words of a run of which also the middle one is a part: `watercolor` of `neon watercolor duck`"""
QUALITY = (
    r"masterpieces?|absurdres|award[ -]winning|trending on artstation|very aesthetic|sharp focus|score_\d(?:_up)?"
    r"|(?:best|high|highest|top|great|good|amazing|ultra|premium|professional)[ -]quality"
    r"|(?:(?:ultra|super|very|extremely|highly|insanely|hyper|intricately|incredibly)[ -]?)?detailed"
    r"|(?:intricate|insane|extreme|rich) details?|perfect (?:anatomy|composition)|correct proportions"
    r"|(?:ultra[ -])?hi(?:gh)?[ -]?res(?:olution)?|\d{1,2}k(?:[ -](?:resolution|uhd|hdr))?|(?:full |ultra )?u?hdr?"
)
"""what people write around any prompt, and what asks for nothing"""
CLAUSE_END = re.compile(
    rf"(?::[\d.]+(?=[)>])|[.,;:!?()\[\]{{}}\n|#]|(?<!\w)(?:{QUALITY})(?!\w))+", re.IGNORECASE
)
"""punctuation, the weight in (cat:1.2), or tags of quality"""
EXCLUDED = re.compile(
    r"\bnegative prompts?:(.*?)(?=\bsteps: ?\d+,|$)"  # as AUTOMATIC1111 writes it
    r"|\bsteps: ?\d+,.*$|<\w+:[^<>\n]*>"
    r"|(?<!\S)--no\b(.*?)(?=\s--|$)|(?<!\S)--[a-z]+(?: [\d:.]+)?"
    r"|(?<![^.,;:!?()\[\]{}\n|#<])([^.,;:!?()\[\]{}\n|#<]+):(?:-\d+(?:\.\d+)?|0(?:\.0+)?)(?![\d.]*\d)",
    re.IGNORECASE | re.MULTILINE,
)
"""what a prompt excludes: by a negative prompt, --no, or a weight of 0 or less; and settings of images, as <lora:…>"""
QUOTES = "'\"’‘“”*_#-"
STOP_WORDS = frozenset({
    "a", "an", "the", "this", "that", "these", "those", "it", "its", "some", "any", "each", "every", "all", "both",
    "such", "same", "other", "another", "no", "not", "nor", "and", "or", "but", "so", "as", "if", "than", "then",
    "while", "because", "of", "in", "on", "at", "by", "for", "from", "to", "into", "onto", "with", "without",
    "within", "about", "above", "below", "under", "over", "near", "behind", "beside", "between", "before", "after",
    "around", "along", "across", "through", "during", "against", "upon", "off", "out", "up", "down", "i", "me", "my",
    "mine", "we", "us", "our", "you", "your", "he", "him", "his", "she", "her", "they", "them", "their", "who",
    "whom", "whose", "which", "what", "where", "when", "how", "why", "i'd", "i'm", "it's", "that's", "let's", "am",
    "is", "are", "was", "were", "be", "been", "being", "have", "has", "had", "having", "do", "does", "did", "done",
    "can", "could", "will", "would", "shall", "should", "may", "might", "must", "please", "need", "want", "like",
    "love", "make", "makes", "made", "create", "draw", "show", "shows", "showing", "give", "get", "put", "see",
    "look", "looks", "looking", "hi", "hello", "hey", "thanks", "thank", "maybe", "just", "only", "also", "very",
    "really", "quite", "rather", "too", "more", "most", "much", "many", "few", "image", "picture", "photo",
    "photograph", "drawing", "illustration", "style", "kind", "sort", "something", "someone", "thing", "one", "ones",
    "there", "here", "anything", "everything", "nothing", "anyone", "everyone",
})  # fmt: skip
"""words that end a run: they connect others, or say that an image is wanted"""


NEGATIONS = frozenset({
    "no", "not", "zero", "hardly", "cannot", "without", "w/o", "sans", "minus", "except", "excluding", "exclude",
    "omitting", "omit", "remove", "lacking", "lacks", "never", "neither", "nor", "avoiding", "avoid", "forget", "hate",
    "dislike", "dont", "doesnt", "didnt", "wont", "isnt", "arent",
})  # fmt: skip
"""words of which the next run of words does not ask for anything, as of all that end in n't"""
WITHOUT = re.compile(
    r"\b(?:instead of|rather than|(?<!none )other than|(?:any|every)(?:thing|one|body) but|free (?:of|from)|devoid of"
    r"|never mind|leave out|get rid of)\b",
    re.IGNORECASE,
)
"""phrases that negate as well"""
EXCLUDING = re.compile(r"non?-(.+)|(.+)-free")
"""words that negate a part of themselves: no-cat, cat-free"""
MINUS = re.compile(r"-(\w.*)")
"""a word behind others that is taken away: cat -dog"""
ADDING = frozenset({"and", "or", "nor"})
AFFIRMING = frozenset({"only", "just", "merely", "simply"})
"""words behind a negation that turn it into a request: not only a cat"""
ACTIONS = frozenset({"cannot", "never", "dont", "doesnt", "didnt", "wont"})
STATES = frozenset({"isn't", "aren't", "wasn't", "weren't"})
"""negations that a verb may follow, as it may all others that end in n't, and those that none follows"""
ARTICLES = frozenset({"a", "an", "the"})
PLACES = frozenset(
    {"in", "on", "at", "into", "onto", "over", "under", "near", "behind", "beside", "with", "through"}
)
"""words that may stand between a verb and its object, as articles may"""


def split_parts(prompt: str) -> tuple[str, ...]:
    """Return the different parts of a prompt, without what it negates; one that asks for nothing has the part "".

    They are clauses of at most 8 words, windows of longer ones, runs of words, the first and the last word and pair of
    words of each run, and the middle one of three.
    """
    clauses, _ = _read(prompt)
    parts = [part for words in clauses for part in (*_windows(words), *_ends(_runs(words)))]
    return tuple(dict.fromkeys(map(" ".join, parts))) or ("",)


def split_runs(prompt: str) -> tuple[str, ...]:
    """Return the different runs of words of a prompt that no stop word interrupts: what it may ask for."""
    return tuple(dict.fromkeys(" ".join(run) for words in _read(prompt)[0] for run in _runs(words)))


def run_shares(prompt: str, parts: Sequence[str]) -> Float64Array:
    """Return how much of a run of words each part is (P,): .5 for the first word of two; 1 for runs and clauses."""
    runs = [run.split() for run in split_runs(prompt)]

    def share(part: str) -> float:
        words = part.split()
        size = len(words)
        around = [run for run in runs if words and words in (run[:size], run[-size:], run[1:-1])]
        return max((size / len(run) for run in around), default=1.0)

    return np.array([share(part) for part in parts])


def negated_runs(prompt: str) -> tuple[str, ...]:
    """Return the runs of words that a prompt negates: `cat` of `a city without any cat`."""
    return tuple(dict.fromkeys(map(" ".join, _read(prompt)[1])))


def wanted_text(prompt: str) -> str:
    """Return a prompt without what it negates; as it is if it negates nothing."""
    clauses, negated = _read(prompt)
    return ", ".join(" ".join(words) for words in clauses if words) if negated else prompt


def _read(prompt: str) -> tuple[list[Sequence[str]], list[Sequence[str]]]:
    """Return the words of each clause, without negated runs, and these."""
    excluded = [text for match in EXCLUDED.finditer(prompt) for text in match.groups() if text]
    negated = [run for text in excluded for clause in CLAUSE_END.split(text) for run in _runs(clause.split())]
    text = WITHOUT.sub("without", EXCLUDED.sub("\n", prompt))
    clauses = [clause.split() for clause in CLAUSE_END.split(text)]
    ends = [match.group() for match in CLAUSE_END.finditer(text)]
    kept, at, goes_on = list[Sequence[str]](), 0, False
    while at < len(clauses):
        words, runs, is_open = _read_clause(clauses[at], goes_on)
        kept.append(words)
        negated += runs
        last = _end_of_list(clauses, ends, at) if is_open else at
        negated += clauses[at + 1 : last]
        at, goes_on = max(last, at + 1), last > at
    return kept, negated


def _read_clause(words: Sequence[str], goes_on: bool) -> tuple[list[str], list[Sequence[str]], bool]:
    """Return the words of a clause without negated runs, these, and whether such a run ends the clause.

    A negation counts for the next run, or for the object if that is a verb; for what *or* adds to it; and for what
    *and* adds, if both have an article or neither has one. It ends at *but*, and two negations are none. goes_on:
    whether the clause begins within a negation.
    """
    plain = [_plain(word) for word in words]
    kept, negated, at, is_open = list[str](), list[Sequence[str]](), 0, False
    while at < len(words):
        if not goes_on and not _negates(plain, at):
            own = _negated_part(words[at], behind=at > 0)
            kept += [] if own else [words[at]]
            negated += [[own]] if own else []
            at, is_open = at + 1, False
            continue
        begin, end = _next_run(plain, at + (not goes_on or plain[at] in ADDING))
        if not goes_on and _has_object(plain, at, begin, end):
            begin, end = _next_run(plain, end)
        is_double = begin == end < len(words) and not goes_on and _is_negation(plain[end])
        has_article = plain[begin - 1] in ARTICLES
        negated += [words[begin:end]] if begin < end else []
        at, is_open = end + is_double, begin < end
        goes_on = is_open and _goes_on(plain[at : at + 2], has_article)
    return kept, negated, is_open


def _negated_part(word: str, *, behind: bool) -> str | None:
    """Return what a word negates of itself; None if nothing. behind: whether others are before it in its clause."""
    match = EXCLUDING.fullmatch(_plain(word)) or (MINUS.fullmatch(word) if behind else None)
    own = match[match.lastindex or 0] if match else ""
    return own if own and _plain(own) not in STOP_WORDS else None


def _next_run(plain: Sequence[str], at: int) -> tuple[int, int]:
    """Return begin and end of the run behind stop words; an empty one before *but*, a negation, or the end."""
    begin = at
    while begin < len(plain) and plain[begin] in STOP_WORDS - {"but"} and not _is_negation(plain[begin]):
        begin += 1
    end = begin
    while end < len(plain) and not _ends_run(plain[end]):
        end += 1
    return begin, end


def _has_object(plain: Sequence[str], at: int, begin: int, end: int) -> bool:
    """Return whether the run behind a negation is a verb with an object, as in `doesn't stand in snow`."""
    may_act = plain[at] in ACTIONS or (plain[at].endswith("n't") and plain[at] not in STATES)
    is_verb = may_act and end == begin + 1 and plain[begin - 1] not in ARTICLES
    return is_verb and bool((ARTICLES | PLACES).intersection(plain[end : end + 1]))


def _negates(plain: Sequence[str], at: int) -> bool:
    """Return whether the word at a position negates what follows."""
    is_question = at > 0 and plain[at - 1] == "why"
    return _is_negation(plain[at]) and not is_question and not AFFIRMING.intersection(plain[at + 1 : at + 2])


def _goes_on(following: Sequence[str], has_article: bool) -> bool:
    """Return whether the words behind a negated run add to it."""
    if following[:1] in (["or"], ["nor"]):
        return True
    if len(following) < 2 or following[0] != "and":
        return False
    return following[1] in ARTICLES if has_article else not _ends_run(following[1])


def _end_of_list(clauses: Sequence[Sequence[str]], ends: Sequence[str], at: int) -> int:
    """Return the clause with the *or* of a list that begins here, as in `no cat, duck or ball`; else the same one."""
    for last in range(at + 1, len(clauses)):
        plain = [_plain(word) for word in clauses[last]]
        first = next(filter(_ends_run, plain), None)
        if ends[last - 1] != "," or not plain or first not in {None, "or", "nor"}:
            break
        if first:
            return last
    return at


def _is_negation(plain: str) -> bool:
    return plain in NEGATIONS or plain.endswith("n't")


def _ends_run(plain: str) -> bool:
    return plain in STOP_WORDS or _is_negation(plain)


def _plain(word: str) -> str:
    return word.lower().replace("’", "'").strip(QUOTES)


def _windows(words: Sequence[str]) -> list[Sequence[str]]:
    """Return a clause, or windows that cover a long one."""
    if len(words) <= MAX_WORDS:
        return [words] if words else []
    return [words[start : start + MAX_WORDS] for start in range(0, len(words) - STEP, STEP)]


def _ends(runs: Iterable[Sequence[str]]) -> Iterator[Sequence[str]]:
    """Yield each run, the words at its ends, and the middle one of three."""
    for run in runs:
        yield run
        for size in EDGES:
            yield from (run[:size], run[-size:])
        if len(run) == SHORT_RUN:
            yield run[1:-1]


def _runs(words: Sequence[str]) -> Sequence[Sequence[str]]:
    """Return the runs of words of a clause that no stop word interrupts."""
    runs: list[list[str]] = [[]]
    for word in words:
        if _ends_run(_plain(word)):
            runs.append([])
        else:
            runs[-1].append(word)
    return [run for run in runs if run]
