"""`python -m bench`: every measurement, one after the other; the last, the sketch at true sizes, takes longest."""

from bench import fusion, inspect, nearest, reading, search, sketching

for measurement in (reading, search):
    measurement.main()
inspect.main([])
nearest.main([])
fusion.main([])
sketching.main([])
