"""What a run of the pipeline would need, before anything is downloaded: disk, memory, hours and requests per stage."""
