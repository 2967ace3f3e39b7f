"""A folder of FLUX.1-dev files that are known by what is said about them, without an encoder.

files.jsonl: 130 files with names, headers and sidecars as public LoRAs have them, written by somebody who remembers
many of these; `known_by` is what tells best what a file does, for 15 of them nothing. prompts.jsonl: for each file a
short search and a prompt, written by somebody else who had read one sentence about its images and saw no name; and 40
of each that nothing fits. The sentences avoid rare words of names and trigger words, less so those of headers, so that
numbers of these are somewhat too high.
"""
