"""`autolora serve`: the local page and its JSON API over the released index."""
