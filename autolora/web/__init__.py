"""`autolora serve`: the local page and its JSON API over the released index."""

PORT = 8080
"""at which the page is served unless another one is given; 8000 is that of the captioning server"""
