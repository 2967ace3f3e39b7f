"""The API of the Hugging Face Hub, complete enough for the unmodified huggingface_hub client."""
