"""`python -m bench`: measurements of speed, one after the other."""

from bench import fusion, inspect, nearest, reading, search

for measurement in (reading, search):
    measurement.main()
inspect.main([])
nearest.main([])
fusion.main([])
