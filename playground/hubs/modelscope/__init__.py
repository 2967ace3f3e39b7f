"""The two APIs of ModelScope: the open one, and the one that its client calls legacy."""
