"""The recipe of the large world: a base of drawings with 128x128 pixels, its pool, and a project with both."""
