"""The REST API of Civitai, which calls everything by number and sends downloads elsewhere."""
