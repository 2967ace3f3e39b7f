"""The routes of the page: whole pages, parts of pages that the script replaces, files, and JSON."""
