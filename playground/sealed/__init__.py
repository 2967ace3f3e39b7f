"""The recipe of the sealed test: a pool of at least 162 LoRAs, and its two sets of prompts."""
