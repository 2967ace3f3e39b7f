"""One spelling of words that British and American English write differently."""

import re

SPELLINGS = (
    (
        r"((?:arm|behavi|clam|col|endeav|fav|flav|harb|hon|hum|lab|neighb|od|parl|rum|savi?|splend|tum|val|vap|vig)o)ur",
        r"\1r",
    ),
    (
        r"\b(\w{2,}(?:[aeioy]ll?|[aeo]r|[aeiorg]n|i[cdmt]|rd|mat|not|(?<!pr)om))is(e[ds]?|ing|ers?|ations?)\b",
        r"\1iz\2",
    ),
    (r"((?:an|cat|par)aly)s(e[ds]?|ing|ers?)\b", r"\1z\2"),
    (r"(calib|cent|fib|lit|lust|meag|met|mit|och|sab|scept|somb|spect|theat)re(s?)\b", r"\1er\2"),
    (r"\b(gr)e(y)(?!hound)", r"\1a\2"),
)
"""pattern -> American form; rules by the ends of words alone would also change flour, promise and acre"""
PATTERNS = tuple((re.compile(pattern, re.IGNORECASE), form) for pattern, form in SPELLINGS)
IS_AMBIGUOUS = re.compile(r"our|[iy]s[aei]|res?\b|grey", re.IGNORECASE)


def one_spelling(text: str) -> str:
    """Return a text with words as American English spells them."""
    if IS_AMBIGUOUS.search(text):
        for pattern, form in PATTERNS:
            text = pattern.sub(form, text)
    return text
