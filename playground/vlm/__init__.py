"""The tiny VLMs: Qwen2_5_VLForConditionalGeneration models that caption drawings and answer yes or no about them."""
