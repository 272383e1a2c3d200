"""From an image of any kind to what a network sees, and back."""
