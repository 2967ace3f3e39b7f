"""Text encoders in NumPy, for searches: importing torch alone takes longer than a whole search."""
