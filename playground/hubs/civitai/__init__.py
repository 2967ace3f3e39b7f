"""The REST API of Civitai, which identifies everything by integer ids and redirects downloads."""
