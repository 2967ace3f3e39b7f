"""Prompts as people write them, against the languages of a search: `python -m bench.language` (after `make demo`).

The files of data/, all written by somebody who saw no number; those marked * served the development of the language:

- forms.json: the eight forms of a prompt, of which one is the bare prompt, and wrappers.jsonl: 20 requests, scenes and
  lists of tags. Each has what stands before a prompt and what stands behind it.
- neighbours.jsonl: two themes without a word between them, and plurals.jsonl: plurals and derived words of a theme.
- unrelated.jsonl: 100 prompts that ask for nothing that the playground's adapters do.
- other_words.jsonl*: prompts for half of the themes without a word of their captions, and new_words.jsonl: those for
  the other half, on which nothing has been chosen. metrics/language.json counts the runs that have seen the latter.
"""
