"""`python -m bench`: measurements of speed, one after the other."""

from bench import reading, search

for measurement in (reading, search):
    measurement.main()
