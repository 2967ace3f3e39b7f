"""A rehearsal of docs/howto/flux.md: FLUX.1-dev's classes, widths and vocabularies with random weights."""
