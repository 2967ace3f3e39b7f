"""The two APIs of ModelScope: the open API, and the API that its client calls legacy."""
