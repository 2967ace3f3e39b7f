"""The API of the Hugging Face Hub: with its endpoint here, the huggingface_hub client works as ever."""
