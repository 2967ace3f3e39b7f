"""Rules of fusion that no measurement puts above the plain sum: each a file, with formula and source.

They have the Protocol of `autolora.fusion.rules`; `studies.paper.methods` chooses one by the name of its method.
"""
