"""The playground: a small drawn world with tiny real models and a pool of real LoRAs."""
